# pyright: reportIncompatibleVariableOverride=false
# (every kind narrows ``kind`` to a literal; pyright does not see that the models are frozen)
"""Typed artifacts: what stages take, return and pass through an orchestrator.

An artifact is a directory in the store, written once and described by ``artifact.json`` (its
manifest). The objects here are the small typed handles: they hold no path, so they stay valid when
the store moves. ``Store.path`` finds the directory.
"""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from recap_core.config.gate import Verdict


class Artifact(BaseModel):
    """Handle of a published, immutable artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    directory: ClassVar[str]
    """Directory of this kind below ``artifacts/``."""

    kind: str
    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    """blake2b-128 of (kind, stage key, tree digest)."""
    name: str
    digest: str
    """xxh3-128 of the content tree, hexadecimal."""
    parents: tuple[str, ...] = ()
    """Ids of the artifacts it was made from."""

    def details(self) -> dict[str, Any]:
        """The fields that only this kind of artifact has, as plain JSON values."""
        return self.model_dump(mode="json", exclude=set(Artifact.model_fields))


class Recording(Artifact):
    """Raw episodes of one collection session (SPEC §2.4)."""

    directory = "recordings"
    kind: Literal["recording"] = "recording"
    num_episodes: int = Field(ge=1)
    num_frames: int = Field(ge=1)
    num_successes: int = Field(ge=0)
    """Successful episodes."""
    num_intervention_frames: int = Field(ge=0)
    """Frames that the operator drove, demonstrations included."""
    fps: int = Field(ge=1)
    task: str
    mode: Literal["demonstration", "rollout"]
    round_index: int = Field(ge=0)
    cameras: tuple[str, ...] = ()


class Annotations(Artifact):
    """Corrections made after the fact: outcomes changed, episodes excluded, notes."""

    directory = "annotations"
    kind: Literal["annotations"] = "annotations"
    num_changed: int = Field(ge=0)
    num_excluded: int = Field(ge=0)


class AnyDataset(Artifact):
    """What every LeRobot dataset artifact says of itself."""

    format_version: Literal["v3.0", "v2.1"] = "v3.0"
    num_episodes: int = Field(ge=1)
    num_frames: int = Field(ge=1)
    fps: int = Field(ge=1)
    tasks: tuple[str, ...]
    cameras: tuple[str, ...] = ()
    """Camera features: ``observation.images.<camera>``."""
    num_rounds: int = Field(default=1, ge=1)


class Dataset(AnyDataset):
    """A LeRobot dataset that carries the five RECAP columns."""

    directory = "datasets"
    kind: Literal["dataset"] = "dataset"


class DatasetCopy(AnyDataset):
    """The automatic copy before a relabel: every file hard-linked, verified equal."""

    directory = "dataset-copies"
    kind: Literal["dataset_copy"] = "dataset_copy"


class RelabeledDataset(AnyDataset):
    """A copy with ``adv_ind`` rewritten from ``Labels``; videos shared with the source."""

    directory = "relabeled-datasets"
    kind: Literal["relabeled_dataset"] = "relabeled_dataset"


class NormStats(Artifact):
    """openpi-format ``norm_stats.json``."""

    directory = "norm-stats"
    kind: Literal["norm_stats"] = "norm_stats"
    num_frames: int = Field(ge=1)


class PolicyCheckpoint(Artifact):
    """openpi layout: ``params/``, ``assets/<asset_id>/norm_stats.json``, ``policy.json``."""

    directory = "policies"
    kind: Literal["policy_checkpoint"] = "policy_checkpoint"
    num_steps: int = Field(ge=0)
    """Training steps behind it; 0 if unknown."""
    num_params: int = Field(ge=1)
    source: str | None = None
    """Where an imported policy lay; None: it was trained here."""
    source_layout: Literal["openpi", "lerobot"] | None = None
    source_digest: str | None = None
    """Digest of the files that its parameters were read from."""
    source_step: int | None = None
    """Number of the step directory that it was imported from."""


class ValueCheckpoint(Artifact):
    """``params/`` and ``ema_params/`` of a value model, its ``value.json`` and its norm stats."""

    directory = "value-models"
    kind: Literal["value_checkpoint"] = "value_checkpoint"
    num_steps: int = Field(ge=0)
    num_params: int = Field(ge=1)
    healthy: bool
    """Whether it passed the health gate (DESIGN §4); an import was never judged, so it is not."""
    best_step: int | None = None
    """Step that the validation episodes chose; None: they chose nothing, it is the last one."""
    stopped_step: int | None = None
    """Step after which nothing got better and training stopped; None: it ran to its end."""
    source: str | None = None
    """Where imported weights lay; None: it was trained here."""
    source_layouts: tuple[str, ...] = ()
    """Whose files they were, one per source."""
    source_digest: str | None = None
    """Digest of the files of all sources."""
    source_step: int | None = None
    """Step of the training that it was imported from."""
    fresh_leaves: tuple[str, ...] = ()
    """Leaves of an import that no source held: drawn from a seed, and yet to be trained."""


class Values(Artifact):
    """V(o_t) of a dataset's frames: float32 in [-1, 0], in global index order.

    NaN on frames that were not asked for, and on no others.
    """

    directory = "values"
    kind: Literal["values"] = "values"
    num_frames: int = Field(ge=1)
    frames: Literal["all", "rollouts"] = "all"
    """``rollouts``: demonstrations have no value."""
    num_missing: int = Field(default=0, ge=0)
    """Frames without a value."""


class Labels(Artifact):
    """Advantage, ``adv_ind`` and rank of every frame of a dataset, and the rule behind them."""

    directory = "labels"
    kind: Literal["labels"] = "labels"
    num_frames: int = Field(ge=1)
    num_positive: int = Field(ge=0)
    num_negative: int = Field(ge=0)
    num_none: int = Field(ge=0)
    autonomous_positive_share: float = Field(ge=0, le=1)
    """Achieved share of positives among the autonomous frames of the threshold's pool."""


class Evaluation(Artifact):
    """Per-episode outcomes of one policy, with the success rate's Wilson interval."""

    directory = "evaluations"
    kind: Literal["evaluation"] = "evaluation"
    num_episodes: int = Field(ge=1)
    num_successes: int = Field(ge=0)
    success_low: float = Field(ge=0, le=1)
    success_high: float = Field(ge=0, le=1)
    successes_per_1000_frames: float = Field(ge=0)


class OfflineCheck(Artifact):
    """What a policy does on held-out frames of a dataset, without a robot: ``offline.json``."""

    directory = "offline-checks"
    kind: Literal["offline_check"] = "offline_check"
    num_episodes: int = Field(ge=1)
    num_frames: int = Field(ge=1)
    """Frames on which the policy was asked for actions."""
    seen_in_training: bool
    """Whether the policy was trained on any of these episodes: then its error says little."""
    failed: tuple[str, ...] = ()
    """Checks that it did not pass; ``recap_core.config.gate.OfflineCheckName``."""
    warnings: tuple[str, ...] = ()
    """What a person should know of it, in sentences."""


class Report(Artifact):
    """Self-contained HTML: ``index.html``."""

    directory = "reports"
    kind: Literal["report"] = "report"


class Iteration(Artifact):
    """A finished round: its parents are everything it took and made, its file the settings."""

    directory = "iterations"
    kind: Literal["iteration"] = "iteration"
    project: str
    robot: str
    round_index: int = Field(ge=1)
    verdict: Verdict
    """What became of the round's new policy when the round ended."""
    reasons: tuple[str, ...] = ()
    """Why, in sentences."""


KINDS: dict[str, type[Artifact]] = {
    cls.model_fields["kind"].default: cls
    for cls in (
        Recording,
        Annotations,
        Dataset,
        DatasetCopy,
        RelabeledDataset,
        NormStats,
        PolicyCheckpoint,
        ValueCheckpoint,
        Values,
        Labels,
        Evaluation,
        OfflineCheck,
        Report,
        Iteration,
    )
}
"""Every kind of artifact, by the name in its manifest."""
