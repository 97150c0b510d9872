"""An operator's evaluation: a recording of a policy's own episodes becomes an ``Evaluation``."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from recap_core.config.score import ScoreConfig
from recap_core.errors import ArtifactError, DataError, IncompatibleError
from recap_core.lineage.artifacts import Annotations, Evaluation, PolicyCheckpoint, Recording
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.annotate import read_corrections
from recap_core.stages.evaluate import EPISODES_FILE, counted
from recap_core.stages.registry import SCORE_RECORDING

if TYPE_CHECKING:
    from recap_core.data.annotations import Correction

LEFT_OUT_FILE: Final = "left_out.json"
"""Beside the episodes that count: those that do not, and why."""
EVALUATION_MODE: Final = "evaluation"
"""``mode`` in the metadata of episodes that an operator only watched."""
_HELPED: Final = "somebody took over"

type Takeovers = Literal["failure", "leave_out"]


class LeftOut(NamedTuple):
    """An episode that does not count."""

    episode: str
    why: str
    success: bool
    """As it is marked."""
    is_helped: bool
    """Whether it is disqualified because somebody took over, or wanted to."""
    started_at_s: float | None
    duration_s: float


def is_evaluation(recording: Recording, store: Store) -> bool:
    """Whether every episode says that it was recorded as an evaluation: nobody was to take over."""
    from recap_core.data.raw_episode import episode_directories, read_metadata

    directories = episode_directories(store.path(recording), warn=False)
    return all(read_metadata(each).get("mode") == EVALUATION_MODE for each in directories)


def default_takeovers(recording: Recording, store: Store) -> Takeovers:
    """How takeovers count where nobody has said it.

    Of a session that was recorded as an evaluation, such an episode is disqualified; in any other
    one the policy has failed where it had to be helped.
    """
    return "leave_out" if is_evaluation(recording, store) else "failure"


def driver_of(recording: Recording, store: Store) -> PolicyCheckpoint | None:
    """The policy that drove, as the recording or its episodes name it; None: nobody knows.

    Raises:
        IncompatibleError: If several drove.
    """
    names = [*recording.parents, *_named_drivers(recording, store)]
    found = dict.fromkeys(filter(None, (_policy(name, store) for name in names)))
    if len(found) > 1:
        who = ", ".join(f"{policy.name}-{policy.id[:8]}" for policy in found)
        raise IncompatibleError(
            f"recording {recording.name}-{recording.id[:8]} was driven by several policies: {who}. "
            "An evaluation is of one; record each in a session of its own"
        )
    return next(iter(found), None)


def _named_drivers(recording: Recording, store: Store) -> list[str]:
    """``policy_ids`` of all episodes' metadata, as the server named them."""
    from recap_core.data.raw_episode import episode_directories, read_metadata

    names: dict[str, None] = {}
    for directory in episode_directories(store.path(recording), warn=False):
        said = read_metadata(directory).get("policy_ids")
        if isinstance(said, list):
            names |= dict.fromkeys(str(name) for name in said)
    return list(names)


def _policy(name: str, store: Store) -> PolicyCheckpoint | None:
    """A policy of this store; None where it is something else, or made elsewhere."""
    try:
        artifact = store.get(name)
    except ArtifactError:
        return None
    return artifact if isinstance(artifact, PolicyCheckpoint) else None


def left_out_of(evaluation: Evaluation, store: Store) -> list[LeftOut]:
    """Episodes of a scored recording that do not count."""
    path = store.path(evaluation) / LEFT_OUT_FILE
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [LeftOut(**row) for row in rows]


def score_recording(  # noqa: PLR0913 - the inputs of the stage; the rest by name
    recording: Recording,
    policy: PolicyCheckpoint,
    config: ScoreConfig,
    *,
    name: str,
    store: Store,
    annotations: Annotations | None = None,
) -> Evaluation:
    """Count how a policy did in episodes that an operator marked, task by task.

    Its episodes are nobody else's: two recordings are compared as independent samples, for nobody
    can say that their scenes were the same.

    Args:
        recording: Rollouts of the policy.
        policy: Who drove.
        config: How takeovers count.
        name: Name of the evaluation.
        store: Where all of it is.
        annotations: Outcomes corrected, episodes excluded.

    Raises:
        DataError: If no episode counts.
        IncompatibleError: If a human drove throughout, or the recording is known to be another
            policy's.
    """
    _check(recording, policy, store)

    def build(area: Build) -> Built:
        from recap_core.evaluation.outcome import EpisodeOutcome

        corrections = {} if annotations is None else read_corrections(annotations, store)
        own = {key.episode: c for key, c in corrections.items() if key.source == recording.id}
        rows, left_out = _rows(store.path(recording), recording.id, own, config)
        if not rows:
            raise DataError(
                f"recording {recording.name}-{recording.id[:8]} has no episode that counts: "
                f"{recording.num_episodes} were excluded, or helped and left out. Record more."
            )
        text = json.dumps([row._asdict() for row in left_out], indent=1)
        (area.output / LEFT_OUT_FILE).write_text(text + "\n")
        (area.output / EPISODES_FILE).write_text(json.dumps(rows, indent=1) + "\n")
        outcomes = [EpisodeOutcome.model_validate(row) for row in rows]
        return counted(outcomes, confidence=config.confidence)

    inputs = {"recording": recording, "policy": policy, "annotations": annotations}
    return store.produce(SCORE_RECORDING, config, inputs, name=name, build=build)


def _check(recording: Recording, policy: PolicyCheckpoint, store: Store) -> None:
    who = f"recording {recording.name}-{recording.id[:8]}"
    if recording.mode == "demonstration":
        raise IncompatibleError(f"{who} holds demonstrations: a human drove, no policy")
    driver = driver_of(recording, store)
    if driver is not None and policy != driver:
        raise IncompatibleError(
            f"{who} was driven by {driver.name}-{driver.id[:8]}, not by "
            f"{policy.name}-{policy.id[:8]}; name the policy that drove"
        )


class _Seen(NamedTuple):
    """What an episode's files say."""

    name: str
    success: bool
    num_frames: int
    help: str | None
    """How somebody took over, or that somebody wanted to and was refused; None: nobody did."""
    started_at_s: float | None
    duration_s: float
    task: str
    reason: str | None


def _rows(
    path: Path, recording: str, corrections: "Mapping[str, Correction]", config: ScoreConfig
) -> tuple[list[dict[str, Any]], list[LeftOut]]:
    """The outcome of every episode that counts, and what does not."""
    rows: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for seen in _episodes(path):
        correction = corrections.get(seen.name)
        why = None
        if correction is not None and correction.excluded:
            why = f"excluded: {correction.note}" if correction.note else "excluded"
        elif seen.help is not None and config.takeovers == "leave_out":
            why = f"disqualified: {seen.help}"
        success = seen.success
        if correction is not None and correction.outcome is not None:
            success = correction.outcome == "success"
        if why is not None:
            left_out.append(
                LeftOut(
                    seen.name, why, success, seen.help is not None,
                    seen.started_at_s, seen.duration_s,
                )
            )  # fmt: skip
            continue
        row = _row(seen, recording, success=success, note=correction.note if correction else "")
        rows.append({key: value for key, value in row.items() if value is not None})
    return rows, left_out


def _row(seen: _Seen, recording: str, *, success: bool, note: str) -> dict[str, Any]:
    is_helped = seen.help is not None
    reason = note or seen.reason
    return {
        "seed": _own_number(recording, seen.name),
        "success": success and not is_helped,
        "num_frames": seen.num_frames,
        "num_correcting_frames": 0,  # an episode that was helped has failed, and that is all
        "best_stage": 0,
        "task": seen.task,
        "failure_reason": _HELPED if is_helped else None if success else reason or None,
        "episode": seen.name,
        "started_at_s": seen.started_at_s,
        "duration_s": seen.duration_s,
    }


def _help(num_correcting_frames: int, disqualified: object) -> str | None:
    """What the files say of help: frames that a human drove, or a live recorder's word."""
    if num_correcting_frames:
        return f"{_HELPED} for {num_correcting_frames} frames"
    return str(disqualified) if disqualified else None


def _episodes(path: Path) -> Iterator[_Seen]:
    from recap_core.data.columns import CORRECTING
    from recap_core.data.raw_episode import (
        episode_directories,
        read_metadata,
        read_outcome,
        read_phase,
        read_timestamps,
    )

    for directory in episode_directories(path, warn=False):
        times, metadata = read_timestamps(directory), read_metadata(directory)
        phase = read_phase(directory, len(times))
        reason = metadata.get("failure_reason")
        is_real = metadata.get("clock") != "simulated"
        yield _Seen(
            name=directory.name,
            success=read_outcome(directory),
            num_frames=len(times),
            help=_help(int((phase == CORRECTING).sum()), metadata.get("disqualified")),
            started_at_s=float(times[0]) if is_real and len(times) else None,
            duration_s=float(times[-1] - times[0]) if len(times) else 0.0,
            task=str(metadata["task_instruction"]).strip(),
            reason=reason.strip() if isinstance(reason, str) and reason.strip() else None,
        )


def _own_number(recording: str, episode: str) -> int:
    """In place of a scene's seed: a number that no other episode has."""
    digest = hashlib.blake2b(f"{recording}/{episode}".encode(), digest_size=6)
    return int.from_bytes(digest.digest())
