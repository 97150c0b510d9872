"""What flows return, and what a round starts from: typed handles of artifacts."""

from pydantic import BaseModel, ConfigDict, Field

from recap_core.config.gate import GateDecision
from recap_core.lineage.artifacts import (
    Annotations,
    Dataset,
    DatasetCopy,
    Evaluation,
    Iteration,
    Labels,
    NormStats,
    OfflineCheck,
    PolicyCheckpoint,
    Recording,
    RelabeledDataset,
    Report,
    ValueCheckpoint,
    Values,
)


class Result(BaseModel):
    """A frozen set of artifact handles."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class BootstrapResult(Result):
    """Demonstrations and the first policy."""

    recordings: tuple[Recording, ...] = Field(min_length=1)
    demonstrations: Dataset
    norm_stats: NormStats
    policy: PolicyCheckpoint
    evaluation: Evaluation | None
    """None where an operator judges."""


class RoundInputs(Result):
    """Everything that exists before a round; nothing in it changes while the round runs."""

    start: PolicyCheckpoint
    """Where fine-tuning starts: the SFT, in every round (DESIGN §4)."""
    collector: PolicyCheckpoint
    """Drives the robot in this round: what was ``current`` when it began."""
    demonstrations: Dataset
    norm_stats: NormStats
    """Of the demonstrations; a policy keeps the statistics it was trained with."""
    earlier: tuple[Dataset, ...] = ()
    """Rollouts of the rounds before, oldest first."""
    value_start: ValueCheckpoint | None = None
    """Where the value model's training starts, in every round; None: fresh parameters."""
    annotations: Annotations | None = None
    """Outcomes corrected and episodes excluded after the fact."""
    recordings: tuple[Recording, ...] = ()
    """What robots recorded for this round; empty: the simulator records."""


class Experience(Result):
    """What a round adds to the data."""

    recordings: tuple[Recording, ...] = Field(min_length=1)
    rollouts: tuple[Dataset, ...] = Field(min_length=1)
    """One per recording."""
    merged: Dataset
    """Demonstrations, earlier rollouts and these."""


class Relabeling(Result):
    """What the value model's labels led to."""

    values: Values
    labels: Labels
    copy_of_merged: DatasetCopy
    dataset: RelabeledDataset


class Learning(Result):
    """What a round learns from the data."""

    value_model: ValueCheckpoint
    relabeling: Relabeling | None
    """None where the value model was not healthy and the collector's labels were used."""
    policy: PolicyCheckpoint
    """The round's new policy."""


class Judgement(Result):
    """Evaluations on the same seeds; all None where an operator judges."""

    before: Evaluation | None = None
    """Of the starting policy."""
    collector: Evaluation | None = None
    """Of the policy that was ``current``; the gate compares with it."""
    after: Evaluation | None = None
    """Of the new policy."""
    control_policy: PolicyCheckpoint | None = None
    control: Evaluation | None = None
    """Of the starting policy, trained for the same extra steps on demonstrations only."""
    offline: OfflineCheck | None = None
    """Checks of the new policy without a robot."""


class IterationResult(Result):
    """One round."""

    project: str
    robot: str
    round_index: int = Field(ge=1)
    inputs: RoundInputs
    experience: Experience
    learning: Learning
    judgement: Judgement
    decision: GateDecision
    """What became of the new policy, and why."""
    current: PolicyCheckpoint
    """What is ``current`` after the round."""
    report: Report
    record: Iteration
    """All of it, as one artifact."""

    @property
    def is_promoted(self) -> bool:
        """Whether the new policy is ``current`` now."""
        return self.decision.verdict == "promoted"


class Stage3Result(Result):
    """A policy fine-tuned on the labels that the collector gave."""

    dataset: Dataset
    policy: PolicyCheckpoint
    evaluation: Evaluation | None


class RelabelResult(Result):
    """New labels on data that was there."""

    merged: Dataset
    value_model: ValueCheckpoint
    relabeling: Relabeling


class EvaluationResult(Result):
    """Policies on the same seeds, in the order in which they were named."""

    policies: tuple[PolicyCheckpoint, ...] = Field(min_length=1)
    evaluations: tuple[Evaluation, ...] = Field(min_length=1)


class TakenSession(Result):
    """A session that is a recording of the project now."""

    session: str
    recording: Recording
    is_new: bool
    """False: it was taken before."""


class SkippedSession(Result):
    """A session that was left alone."""

    session: str
    reason: str
    """What is missing, in a sentence."""


class IngestResult(Result):
    """What became of the sessions that were found."""

    taken: tuple[TakenSession, ...] = ()
    skipped: tuple[SkippedSession, ...] = ()

    @property
    def new_recordings(self) -> tuple[Recording, ...]:
        """What this run has added."""
        return tuple(taken.recording for taken in self.taken if taken.is_new)


class LoopResult(Result):
    """A bootstrap and the rounds after it."""

    bootstrap: BootstrapResult
    rounds: tuple[IterationResult, ...]
