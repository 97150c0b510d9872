"""Episodes as a rerun recording: cameras, joints, value, advantage and label on one time line.

Episodes follow one another with a gap of a second. Time lines: ``seconds`` and ``frame`` count
through the recording, ``index`` is the global index of the dataset.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt32

from recap_core.data import columns
from recap_core.data.columns import IMAGE_PREFIX
from recap_core.data.video import iter_camera_blocks
from recap_core.data.video_stream import encoded_episode
from recap_core.errors import ConfigError
from recap_core.labels.adv_ind import NAMES
from recap_core.progress import Progress, Silent
from recap_core.reports.svg import runs
from recap_core.reports.thumbnails import jpeg_bytes
from recap_core.reports.tracks import DRIVERS, DatasetTracks, EpisodeTracks

if TYPE_CHECKING:
    import rerun as rr
    import rerun.blueprint as rrb

CAMERAS: Final = "cameras"
STATE: Final = "joints/state"
ACTION: Final = "joints/action"
VALUE: Final = "judgement/value"
VALUE_LABEL: Final = "judgement/value_label"
REWARD: Final = "reward"
ADVANTAGE: Final = "advantage/advantage"
THRESHOLD: Final = "advantage/threshold"
LANES: Final = "lanes"
DESCRIPTION: Final = "description"

_CURVE_STYLES: Final = {
    VALUE: ("V", 0x0072B2FF),
    VALUE_LABEL: ("value_label", 0x9AA1A9FF),
    REWARD: ("reward", 0x009E73FF),
    ADVANTAGE: ("advantage", 0xCC79A7FF),
    THRESHOLD: ("threshold", 0xA87900FF),
}
_DRIVER_COLOURS: Final = (0xC9CDD2FF, 0x8F959DFF, 0x8A4A7DFF, 0x009E73FF)
_LABEL_COLOURS: Final = (0xA9ADB2FF, 0xD55E00FF, 0x0072B2FF)
_ENDING_COLOURS: Final = {"success": 0x0B62A4FF, "failure": 0xB34700FF, "unknown": 0xA9ADB2FF}
_JPEG_QUALITY: Final = 85


def write_recording(
    tracks: DatasetTracks,
    episodes: Sequence[int],
    path: Path,
    *,
    as_pictures: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write some episodes of a dataset as a ``.rrd`` file with a prepared layout.

    Videos go in as they are encoded, without decoding, where the episode starts with a keyframe
    and frames are not reordered; else as JPEG. Rerun's own viewer plays H.264 with the program
    ``ffmpeg``, which has to be installed beside it.

    Args:
        tracks: The dataset.
        episodes: Episodes, in this order.
        path: File to write.
        as_pictures: All cameras as JPEG, for viewers without ffmpeg.
        progress: Who watches.

    Raises:
        ConfigError: If rerun is not installed.
        DataError: If columns or videos cannot be read.
    """
    rr = import_rerun()
    chosen = ", ".join(str(episode) for episode in episodes[:8])
    name = f"{tracks.name} episode {chosen}{', …' if len(episodes) > 8 else ''}"
    # An id of its own: two recordings of one id would be one in the viewer.
    stream = rr.RecordingStream("recap", send_properties=False)
    try:
        stream.save(path, default_blueprint=layout(tracks))
        stream.send_recording_name(name)
        writer = _Writer(stream, tracks, as_pictures=as_pictures)
        writer.write_names(tracks.episode(episodes[0]), episodes)
        with (progress or Silent()).bar("recording", len(episodes)) as bar:
            for number, index in enumerate(episodes, start=1):
                writer.write(tracks.episode(index))
                bar.update(number)
        stream.flush()
    finally:
        stream.disconnect()


def import_rerun() -> ModuleType:
    """The library, which is an extra.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import rerun
    except ImportError as error:
        raise ConfigError(
            f"a rerun recording needs the package rerun-sdk, which cannot be imported ({error}). "
            "Install it with: pip install 'rerun-sdk>=0.41'; or make a page: recap view --html"
        ) from error
    return rerun


class _Moments(NamedTuple):
    """Where an episode stands on the time lines."""

    start: int
    """Position of its first frame."""
    first_index: int
    fps: int

    def times(self, frames: Int[np.ndarray, " k"]) -> "list[rr.TimeColumn]":
        """The three times of some of its frames."""
        import rerun as rr

        positions = self.start + frames
        # Whole nanoseconds, so that equal frames are at equal times.
        elapsed = np.round(positions * (1e9 / self.fps)).astype("timedelta64[ns]")
        return [
            rr.TimeColumn("seconds", duration=elapsed),
            rr.TimeColumn("frame", sequence=positions),
            rr.TimeColumn("index", sequence=self.first_index + frames),
        ]


class _Writer:
    """Episodes into a recording, one after the other."""

    def __init__(
        self, stream: "rr.RecordingStream", tracks: DatasetTracks, *, as_pictures: bool
    ) -> None:
        self._stream = stream
        self._as_pictures = as_pictures
        self._tracks = tracks
        self._next = 0

    def write_names(self, first: EpisodeTracks, episodes: Sequence[int]) -> None:
        """Names and colours, which do not change over time."""
        import rerun as rr

        endings = {_title(e, self._tracks.endings[e]): self._tracks.endings[e] for e in episodes}
        contents: dict[str, rr.AsComponents] = {
            f"{LANES}/driver": _states(dict(zip(DRIVERS, _DRIVER_COLOURS, strict=True))),
            f"{LANES}/adv_ind": _states(dict(zip(NAMES, _LABEL_COLOURS, strict=True))),
            f"{LANES}/phase": _states(dict(zip(columns.PHASES, _DRIVER_COLOURS[:3], strict=True))),
            f"{LANES}/episode": _states({t: _ENDING_COLOURS[end] for t, end in endings.items()}),
        }
        for entity in _curves(first):
            style = _CURVE_STYLES.get(entity)
            if style is not None:
                name, colour = style
                contents[entity] = rr.SeriesLines(names=[name], colors=_colours(colour))
        for entity, vector in ((STATE, first.state), (ACTION, first.action)):
            if vector is not None:
                kind = entity.rpartition("/")[2]
                contents[entity] = rr.SeriesLines(names=[f"{kind} {n}" for n in vector.names])
        for entity, content in contents.items():
            self._stream.log(entity, content, static=True, strict=True)

    def write(self, episode: EpisodeTracks) -> None:
        """Append an episode, with a gap of a second before the next."""
        moments = _Moments(self._next, episode.first_index, episode.fps)
        self._next += episode.num_frames + episode.fps
        for entity, values in _curves(episode).items():
            self._write_curve(moments, entity, values)
        for lane, texts in _lanes(episode).items():
            self._write_lane(moments, f"{LANES}/{lane}", texts)
        for camera in self._tracks.table.meta.cameras:
            self._write_camera(moments, episode, camera)
        self._write_description(moments, episode)

    def _write_curve(
        self, moments: _Moments, entity: str, values: Float[np.ndarray, "t d"]
    ) -> None:
        """A row per frame, and an empty one behind the last, so that no line leads on."""
        import rerun as rr

        num_frames, num_dims = values.shape
        numbers = rr.Scalars.columns(scalars=values.ravel().astype(np.float64))
        self._stream.send_columns(
            entity,
            moments.times(np.arange(num_frames + 1)),
            numbers.partition([num_dims] * num_frames + [0]),
            strict=True,
        )

    def _write_lane(self, moments: _Moments, entity: str, texts: Shaped[np.ndarray, " t"]) -> None:
        """Changes of a text; an empty one ends the last."""
        import rerun as rr

        _, codes = np.unique(texts, return_inverse=True)
        starts = [start for start, _, _ in runs(codes)]
        self._stream.send_columns(
            entity,
            moments.times(np.array([*starts, len(texts)])),
            rr.StateChange.columns(state=[*(str(texts[start]) for start in starts), ""]),
            strict=True,
        )

    def _write_camera(self, moments: _Moments, episode: EpisodeTracks, camera: str) -> None:
        import rerun as rr

        meta = self._tracks.table.meta
        entity = f"{CAMERAS}/{camera.removeprefix(IMAGE_PREFIX)}"
        encoded = None
        if not self._as_pictures:
            encoded = encoded_episode(meta, camera, episode.episode_index)
        if encoded is None:
            self._write_pictures(moments, episode, camera)
            return
        codec = {"h264": rr.VideoCodec.H264, "hevc": rr.VideoCodec.H265, "av1": rr.VideoCodec.AV1}
        self._stream.log(entity, rr.VideoStream(codec[encoded.codec]), static=True, strict=True)
        self._stream.send_columns(
            entity,
            moments.times(np.arange(episode.num_frames)),
            rr.VideoStream.columns(
                sample=[frame.data for frame in encoded.frames],
                is_keyframe=[frame.is_keyframe for frame in encoded.frames],
            ),
            strict=True,
        )

    def _write_pictures(self, moments: _Moments, episode: EpisodeTracks, camera: str) -> None:
        """Decoded frames, compressed one by one."""
        import rerun as rr

        entity = f"{CAMERAS}/{camera.removeprefix(IMAGE_PREFIX)}"
        root, first = self._tracks.table.meta.root, episode.first_index
        for block in iter_camera_blocks(root, [camera], episodes=[episode.episode_index]):
            pictures = [jpeg_bytes(image, quality=_JPEG_QUALITY) for image in block.images[camera]]
            self._stream.send_columns(
                entity,
                moments.times(block.indices - first),
                rr.EncodedImage.columns(blob=pictures, media_type=["image/jpeg"] * len(pictures)),
                strict=True,
            )

    def _write_description(self, moments: _Moments, episode: EpisodeTracks) -> None:
        import rerun as rr

        lines = [
            f"episode {episode.episode_index}: {episode.ending}",
            f"task: {episode.task}",
            f"{episode.num_frames} frames, {episode.seconds:.1f} s at {episode.fps} fps",
            f"round {episode.round_index}" + (f", {episode.source}" if episode.source else ""),
            f"values: {self._tracks.judgement.values_from or 'none, so value_label is drawn'}",
            f"labels: {self._tracks.judgement.labels_from or 'the column adv_ind'}",
        ]
        self._stream.send_columns(
            DESCRIPTION,
            moments.times(np.zeros(1, dtype=np.int64)),
            rr.TextDocument.columns(text=["\n".join(lines)]),
            strict=True,
        )


def _title(episode: int, ending: str) -> str:
    return f"{episode}: {ending}"


def _colours(*rgba: int) -> UInt32[np.ndarray, " k"]:
    """As rerun takes them without a doubt."""
    return np.array(rgba, dtype=np.uint32)


def _states(colours: Mapping[str, int]) -> "rr.StateConfiguration":
    import rerun as rr

    return rr.StateConfiguration(values=list(colours), colors=_colours(*colours.values()))


def _curves(episode: EpisodeTracks) -> dict[str, Float[np.ndarray, "t d"]]:
    """What is drawn as lines, by entity."""
    threshold = None
    if episode.threshold is not None:
        threshold = np.full(episode.num_frames, episode.threshold)
    scalars = {
        VALUE: episode.values,
        VALUE_LABEL: episode.value_label,
        REWARD: episode.reward,
        ADVANTAGE: episode.advantage,
        THRESHOLD: threshold,
    }
    curves = {entity: column[:, None] for entity, column in scalars.items() if column is not None}
    vectors = {STATE: episode.state, ACTION: episode.action}
    return curves | {entity: v.values for entity, v in vectors.items() if v is not None}


def _lanes(episode: EpisodeTracks) -> dict[str, Shaped[np.ndarray, " t"]]:
    """What is text over time, by name."""
    lanes = {
        "episode": np.full(episode.num_frames, _title(episode.episode_index, episode.ending)),
        "driver": np.array(DRIVERS)[episode.driver],
        "adv_ind": np.array(NAMES)[episode.adv_ind],
    }
    return lanes if episode.phase is None else lanes | {"phase": episode.phase}


def layout(tracks: DatasetTracks) -> "rrb.Blueprint":
    """Cameras on top, lanes and judgement below them, joints at the bottom."""
    import rerun.blueprint as rrb

    cameras = [
        rrb.Spatial2DView(origin=f"{CAMERAS}/{name}", name=name)
        for name in (camera.removeprefix(IMAGE_PREFIX) for camera in tracks.table.meta.cameras)
    ]
    judgement = [rrb.TimeSeriesView(origin="judgement", name="value")]
    if tracks.judgement.advantage is not None:
        judgement.append(rrb.TimeSeriesView(origin="advantage", name="advantage"))
    judgement.append(rrb.TimeSeriesView(origin=REWARD, name="reward"))
    vectors = ((STATE, columns.STATE), (ACTION, columns.ACTION))
    joints = [
        # Names show under the pointer; a legend of a dozen would cover the curves.
        rrb.TimeSeriesView(origin=entity, name=feature, plot_legend=rrb.PlotLegend(visible=False))
        for entity, feature in vectors
        if feature in tracks.table.meta.features
    ]
    lanes = rrb.StateTimelineView(origin=LANES, name="label, driver, episode, phase")
    text = rrb.TextDocumentView(origin=DESCRIPTION, name="episode")
    rows = [
        rrb.Horizontal(*cameras, text),
        lanes,
        rrb.Horizontal(*judgement, column_shares=[3.0] * (len(judgement) - 1) + [1.0]),
    ]
    shares = [4.0, 2.3, 2.0]
    if joints:
        rows.append(rrb.Horizontal(*joints))
        shares.append(2.0)
    return rrb.Blueprint(
        rrb.Vertical(*rows, row_shares=shares),
        rrb.TimePanel(timeline="seconds", play_state="paused", state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.BlueprintPanel(state="collapsed"),
        auto_views=False,
    )
