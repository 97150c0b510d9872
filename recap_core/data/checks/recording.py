"""Raw recordings: what the recorder left, before anything is converted."""

from collections.abc import Generator
from pathlib import Path

import numpy as np

from recap_core.config.recording_map import RecordingMap
from recap_core.config.validation import ValidateConfig
from recap_core.data.checks.episode import Episode
from recap_core.data.checks.finding import Finding, Place, from_error
from recap_core.data.columns import ACTION, CORRECTING, INTERVENTION, PHASE, STATE
from recap_core.data.in_progress import episode_state
from recap_core.data.raw_episode import (
    MAX_CUT,
    RawCamera,
    RawEpisode,
    read_metadata,
    read_raw_episode,
)
from recap_core.data.resample import is_apart, plausible_fps
from recap_core.data.video_files import probe_video
from recap_core.errors import ConfigError, DataError, EpisodeError

MAX_DROPPED_SHARE = 0.02
"""Share of a camera's frames that may be lost before somebody should look at the encoder."""
MAX_PAUSE_STEPS = 5.0
"""A tick that takes this many times the usual one is a pause of the control loop."""
MAX_CLOCK_OFFSET_S = 0.5


def read_for_checks(
    path: Path, robot: RecordingMap | None = None
) -> tuple[RawEpisode | None, list[Finding]]:
    """One raw episode, or why it cannot be read (with this robot's map)."""
    try:
        return read_raw_episode(path, robot), []
    except (DataError, ConfigError) as error:
        finding = from_error(error, check="recording", where=Place(episode=path.name))
        return None, [finding]


def as_episode(raw: RawEpisode) -> Episode:
    """A raw episode as the other checks see it."""
    columns = {
        STATE: raw.state,
        ACTION: raw.action,
        PHASE: raw.phase,
        INTERVENTION: (raw.phase == CORRECTING).astype(np.int64),
    }
    return Episode(raw.name, 0, columns, raw.success)


def check_unfinished(recording: Path) -> Generator[Finding]:
    """Episodes that conversion leaves out."""
    for path in sorted(recording.glob("episode_*")):
        state = episode_state(path)
        if state == "recording":
            value, rule = "still being recorded", "conversion leaves it out"
        elif state == "interrupted":
            value, rule = (
                "no metadata.json",
                "the recorder did not finish; conversion leaves it out",
            )
        else:
            continue
        yield Finding(
            severity="warning",
            check="recording",
            where=Place(episode=path.name),
            value=value,
            rule=rule,
            fix="wait for the recorder, or remove the directory",
        )


def check_raw_episode(path: Path, raw: RawEpisode, config: ValidateConfig) -> Generator[Finding]:
    """Outcome, clocks and cameras of an episode that could be read."""
    if not (path / "SUCCESS").exists() and not (path / "FAILURE").exists():
        yield Finding(
            severity="warning",
            check="outcomes",
            where=Place(episode=raw.name),
            value="neither SUCCESS nor FAILURE",
            rule="an unmarked episode counts as a failure",
            fix="mark it, or correct it with an annotation",
        )
    if len(raw.timestamps) > 1:
        yield from _clock(path, raw, config)
    else:
        yield Finding(
            severity="warning",
            check="lengths",
            where=Place(episode=raw.name),
            value=f"{len(raw.timestamps)} frames",
            rule="an episode without duration is left out",
            fix="remove it",
        )
    for name, camera in raw.cameras.items():
        try:
            num_frames = probe_video(camera.path).num_frames
        except DataError as error:
            where = Place(episode=raw.name, feature=name)
            yield from_error(error, check="videos", where=where)
            continue
        yield from _camera(raw, name, camera, num_frames)


def _clock(path: Path, raw: RawEpisode, config: ValidateConfig) -> Generator[Finding]:
    """Measured rate against the nominal one, and pauses of the control loop."""
    try:
        measured = plausible_fps(raw.timestamps, episode=raw.name)
    except EpisodeError as error:
        yield from_error(error, check="rate", where=Place(episode=raw.name))
        return
    nominal = read_metadata(path).get("recording_fps")
    if isinstance(nominal, int | float) and nominal > 0:
        error = abs(measured - nominal) / nominal
        if not error <= config.rate_error:
            yield Finding(
                severity="warning",
                check="rate",
                where=Place(episode=raw.name),
                value=f"{measured:.2f} frames per second; the recorder was set to {nominal:g}",
                rule=f"the rate drifts by more than {config.rate_error:.0%}",
                fix="set target_fps to resample, and look for load on the recorder",
            )
    steps = np.diff(raw.timestamps)
    usual = float(np.median(steps))
    if steps.max() > MAX_PAUSE_STEPS * usual:
        yield Finding(
            severity="warning",
            check="rate",
            where=Place(episode=raw.name, frame=int(steps.argmax())),
            value=f"{steps.max():.3f} s without a tick; usual are {usual:.3f} s",
            rule="the control loop stood still, so neighbouring frames are far apart",
            fix="look at the episode, and exclude it with an annotation",
        )


def _camera(raw: RawEpisode, name: str, camera: RawCamera, num_frames: int) -> Generator[Finding]:
    """Frames of one camera against its timestamps and the ticks."""
    where = Place(episode=raw.name, feature=name)
    promised = len(raw.timestamps if camera.timestamps is None else camera.timestamps)
    if num_frames != promised or not num_frames:
        what = "rows" if camera.timestamps is None else "camera timestamps"
        is_cut = num_frames > 0 and abs(num_frames - promised) <= MAX_CUT
        yield Finding(
            severity="warning" if is_cut else "error",
            check="videos",
            where=where,
            value=f"{num_frames} frames for {promised} {what}",
            rule="every frame has its time; conversion cuts a frame too many, if it is one"
            if is_cut
            else "every frame has its time",
            fix="nothing"
            if is_cut
            else "exclude the episode with an annotation, or restore the video",
        )
    if camera.timestamps is None or not len(camera.timestamps):
        return
    dropped = 1 - len(camera.timestamps) / max(len(raw.timestamps), 1)
    if dropped > MAX_DROPPED_SHARE:
        yield Finding(
            severity="warning",
            check="rate",
            where=where,
            value=f"{dropped:.1%} of the frames were dropped",
            rule=f"more than {MAX_DROPPED_SHARE:.0%}: rows repeat the frame before",
            fix="look for load on the recorder; a smaller picture encodes faster",
        )
    offset = max(
        abs(float(camera.timestamps[0] - raw.timestamps[0])),
        abs(float(camera.timestamps[-1] - raw.timestamps[-1])),
    )
    if offset > MAX_CLOCK_OFFSET_S:
        yield Finding(
            severity="error" if is_apart(raw.timestamps, camera.timestamps) else "warning",
            check="rate",
            where=where,
            value=f"the camera's time is {offset:.2f} s away from the ticks'",
            rule=f"both come from one clock; {MAX_CLOCK_OFFSET_S:g} s are allowed",
            fix="check the camera's clock and when it starts",
        )
