"""An operator's evaluation: a recording of a policy's own episodes becomes an ``Evaluation``."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_core.config.score import ScoreConfig
from recap_core.errors import DataError, IncompatibleError
from recap_core.lineage.artifacts import Annotations, Evaluation, PolicyCheckpoint, Recording
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.annotate import read_corrections
from recap_core.stages.evaluate import EPISODES_FILE
from recap_core.stages.registry import SCORE_RECORDING

if TYPE_CHECKING:
    from recap_core.data.annotations import Correction


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
        from recap_core.evaluation.statistics import summarize

        corrections = {} if annotations is None else read_corrections(annotations, store)
        own = {key.episode: c for key, c in corrections.items() if key.source == recording.id}
        rows = list(_rows(store.path(recording), recording.id, own, config))
        if not rows:
            raise DataError(
                f"recording {recording.name}-{recording.id[:8]} has no episode that counts: "
                f"{recording.num_episodes} were excluded, or helped and left out. Record more."
            )
        (area.output / EPISODES_FILE).write_text(json.dumps(rows, indent=1) + "\n")
        outcomes = [EpisodeOutcome.model_validate(row) for row in rows]
        summary = summarize(outcomes, confidence=config.confidence)
        details = {
            "num_episodes": summary.num_episodes,
            "num_successes": summary.num_successes,
            "success_low": summary.success_rate_low,
            "success_high": summary.success_rate_high,
            "successes_per_1000_frames": summary.successes_per_1000_frames,
        }
        return Built(details, {"success_rate": summary.success_rate})

    inputs = {"recording": recording, "policy": policy, "annotations": annotations}
    return store.produce(SCORE_RECORDING, config, inputs, name=name, build=build)


def _check(recording: Recording, policy: PolicyCheckpoint, store: Store) -> None:
    who = f"recording {recording.name}-{recording.id[:8]}"
    if recording.mode == "demonstration":
        raise IncompatibleError(f"{who} holds demonstrations: a human drove, no policy")
    drivers = [
        parent
        for parent in map(store.get, recording.parents)
        if isinstance(parent, PolicyCheckpoint)
    ]
    if drivers and policy not in drivers:
        raise IncompatibleError(
            f"{who} was driven by {drivers[0].name}-{drivers[0].id[:8]}, not by "
            f"{policy.name}-{policy.id[:8]}; name the policy that drove"
        )


def _rows(
    path: Path, recording: str, corrections: "Mapping[str, Correction]", config: ScoreConfig
) -> Iterator[dict[str, Any]]:
    """The outcome of every episode that counts."""
    from recap_core.data.columns import CORRECTING
    from recap_core.data.raw_episode import (
        episode_directories,
        read_metadata,
        read_outcome,
        read_phase,
        read_timestamps,
    )

    for directory in episode_directories(path, warn=False):
        correction = corrections.get(directory.name)
        if correction is not None and correction.excluded:
            continue
        num_frames = len(read_timestamps(directory))
        is_helped = bool((read_phase(directory, num_frames) == CORRECTING).any())
        if is_helped and config.takeovers == "leave_out":
            continue
        success = read_outcome(directory)
        if correction is not None and correction.outcome is not None:
            success = correction.outcome == "success"
        yield {
            "seed": _own_number(recording, directory.name),
            "success": success and not is_helped,
            "num_frames": num_frames,
            "num_correcting_frames": 0,  # an episode that was helped has failed, and that is all
            "best_stage": 0,
            "task": str(read_metadata(directory)["task_instruction"]).strip(),
        }


def _own_number(recording: str, episode: str) -> int:
    """In place of a scene's seed: a number that no other episode has."""
    digest = hashlib.blake2b(f"{recording}/{episode}".encode(), digest_size=6)
    return int.from_bytes(digest.digest())
