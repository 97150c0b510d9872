"""The finished rounds of a store, each with everything it was made of."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from recap_core.config.iteration import RecordIterationConfig
from recap_core.lineage.artifacts import Iteration
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store

RECORD_FILE = "iteration.json"

ROLES = (
    "start", "collector", "demonstrations", "norm_stats", "annotations", "earlier", "recordings",
    "rollouts", "merged", "value_model", "values", "labels", "copy", "relabeled", "policy",
    "before", "current", "after", "control_policy", "control", "offline", "report",
)  # fmt: skip
"""Roles of a round's parts.

Evaluations are ``before`` (starting policy), ``current`` (the policy in use), ``after`` (the new
one) and ``control``; ``offline`` are checks without a robot. ``earlier``, ``recordings`` and
``rollouts`` may occur several times, any other role once or never.
"""


class IterationRecord(NamedTuple):
    """One finished round."""

    artifact: Iteration
    manifest: Manifest

    @property
    def label(self) -> str:
        """``project/robot/round-<k>``, as its ref is called."""
        of = self.artifact
        return f"{of.project}/{of.robot}/round-{of.round_index}"

    def ids(self, role: str) -> tuple[str, ...]:
        """Ids of the parts in that role, in order; empty if there is none."""
        return tuple(parent.id for parent in self.manifest.parents if parent.role == role)

    def id(self, role: str) -> str | None:
        """Id of the one part in that role; None if there is none."""
        return next(iter(self.ids(role)), None)

    def record(self, store: Store) -> RecordIterationConfig:
        """Settings and decision."""
        path = store.path(self.artifact) / RECORD_FILE
        return RecordIterationConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))


def iteration_records(
    store: Store, project: str | None = None, robot: str | None = None
) -> list[IterationRecord]:
    """Finished rounds, by project, robot, round and time; a round done anew is there twice."""
    return records_among(store.artifacts(), project, robot)


def records_among(
    manifests: Iterable[Manifest], project: str | None = None, robot: str | None = None
) -> list[IterationRecord]:
    """The same, from manifests that have been read already."""
    found: list[IterationRecord] = []
    for manifest in manifests:
        if manifest.kind != "iteration":
            continue
        artifact = manifest.artifact()
        assert isinstance(artifact, Iteration)  # noqa: S101 - the kind says so
        if project in {None, artifact.project} and robot in {None, artifact.robot}:
            found.append(IterationRecord(artifact, manifest))
    return sorted(found, key=_order)


def _order(record: IterationRecord) -> tuple[str, str, int, float]:
    artifact = record.artifact
    finished = record.manifest.finished_at.timestamp()
    return (artifact.project, artifact.robot, artifact.round_index, finished)
