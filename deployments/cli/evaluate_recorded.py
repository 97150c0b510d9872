"""Evaluations by an operator: recordings of a policy's own episodes, scored and compared."""

import json
from collections.abc import Sequence
from pathlib import Path

from deployments.cli.artifact_arguments import artifact_of_kind
from deployments.cli.evaluation_facts import Tried, label
from deployments.cli.promotion_facts import candidate_of, policy_named
from recap_core.config.score import ScoreConfig
from recap_core.data.session import SUMMARY
from recap_core.errors import ConfigError
from recap_core.evaluation.checkpoint_row import Span, checkpoint_row
from recap_core.lineage.artifacts import Annotations, PolicyCheckpoint, Recording
from recap_core.lineage.store import Store
from recap_core.stages.judge import episodes_of
from recap_core.stages.score_recording import (
    default_takeovers,
    driver_of,
    left_out_of,
    score_recording,
)


def score_all(
    store: Store,
    project: str,
    recordings: Sequence[str],
    policies: Sequence[str],
    *,
    is_left_out: bool | None,
) -> list[Tried]:
    """Score recordings, in their order.

    Args:
        store: Where they are.
        project: ``project/robot``.
        recordings: As a person names them.
        policies: Who drove: one for all, or one per recording; none: as the recordings say, else
            the project's candidate.
        is_left_out: Whether episodes with takeovers are left out; None: as they were recorded.

    Takeovers count the same way in all of them, or the policies could not be compared: where
    nobody says it, they are left out if every recording is an evaluation.

    Raises:
        ConfigError: If there are other numbers of policies.
    """
    if len(policies) not in {0, 1, len(recordings)}:
        raise ConfigError(
            f"{len(policies)} policies and {len(recordings)} recordings: name one policy for all, "
            "one per recording in the same order, or none where the recordings say who drove"
        )
    names = list(policies) * len(recordings) if len(policies) == 1 else list(policies)
    found = [
        artifact_of_kind(store, reference, Recording, wanted="a recording")
        for reference in recordings
    ]
    if is_left_out is None:
        is_left_out = all(default_takeovers(each, store) == "leave_out" for each in found)
    tried: list[Tried] = []
    for index, recorded in enumerate(found):
        policy = policy_named(store, project, names[index]) if names else None
        chosen = policy or driver_of(recorded, store) or candidate_of(store, project)
        tried.append(score_one(store, project, recorded, chosen, is_left_out=is_left_out))
    return tried


def score_one(
    store: Store,
    project: str,
    recording: Recording,
    policy: PolicyCheckpoint,
    *,
    is_left_out: bool | None,
) -> Tried:
    """Score one recording, with the project's annotations."""
    takeovers = default_takeovers(recording, store)
    if is_left_out is not None:
        takeovers = "leave_out" if is_left_out else "failure"
    annotations = store.get_ref(f"{project}/annotations")
    evaluation = score_recording(
        recording,
        policy,
        ScoreConfig(takeovers=takeovers),
        name=f"{policy.name}-on-{recording.name}"[:64],
        store=store,
        annotations=annotations if isinstance(annotations, Annotations) else None,
    )
    outcomes, left_out = tuple(episodes_of(evaluation, store)), left_out_of(evaluation, store)
    name = f"{label(policy)} in {label(recording)}"
    return Tried(
        name=name,
        policy=policy,
        evaluation=evaluation,
        outcomes=outcomes,
        row=checkpoint_row(
            name,
            outcomes,
            fps=recording.fps,
            max_frames=None,
            spans=[Span(each.started_at_s, each.duration_s) for each in (*outcomes, *left_out)],
        ),
        recording=recording,
        left_out=tuple(left_out),
        num_discarded=_num_discarded(store.path(recording)),
    )


def _num_discarded(recording: Path) -> int:
    """As the recorder's summary says; 0 where there is none, or it does not say it."""
    try:
        summary = json.loads((recording / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    number = summary.get("discarded") if isinstance(summary, dict) else None
    return number if isinstance(number, int) and number > 0 else 0
