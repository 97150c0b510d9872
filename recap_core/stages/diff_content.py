"""What a difference between two artifacts tells, as plain data (``model_dump(mode="json")``)."""

from typing import Any

from recap_core.config.gate import GateDecision
from recap_core.evaluation.gate_words import SuccessDifference
from recap_core.lineage.changes import Change
from recap_core.stages.trace_content import (
    Named,
    Traced,
    TracedAnnotations,
    TracedEvaluation,
    TracedLabels,
    TracedRecording,
    TracedValueModel,
)


class Pair[T](Traced):
    """The same thing on both sides; None where a side has none."""

    old: T | None
    new: T | None


class FlipExample(Traced):
    """An episode whose labels changed."""

    episode: str
    """Raw episode."""
    recording: Named
    index: int
    """Episode of the new labels' dataset."""
    transitions: dict[str, int]
    """Frames by ``negative->positive`` and so on."""
    frames: tuple[int, ...]
    """A few changed frames, one from the middle of each long stretch."""


class TaskFlips(Traced):
    """How labels of one task changed, on frames that both sides have."""

    task: str
    frames: int
    gained: int
    """Frames that became positive."""
    lost: int
    other: int
    positive_before: float
    positive_after: float


class Flips(Traced):
    """Labels beside each other."""

    num_episodes: int
    num_frames: int
    num_changed_episodes: int
    only_before: int
    only_after: int
    resized: int
    tasks: tuple[TaskFlips, ...]
    examples: tuple[FlipExample, ...]


class LineageDiff(Traced):
    """Everything that is not the same about two rounds, policies, datasets or labels."""

    old: Named
    new: Named
    recordings_added: tuple[TracedRecording, ...]
    recordings_removed: tuple[TracedRecording, ...]
    num_recordings_in_both: int
    annotations: Pair[TracedAnnotations]
    """The newest corrections that went into each side."""
    labels: Pair[TracedLabels]
    flips: Flips | None
    value_model: Pair[TracedValueModel]
    policy: Pair[Named]
    evaluation: Pair[TracedEvaluation]
    """Of the new policies."""
    difference: SuccessDifference | None
    """Of the new policies; 95 % interval."""
    settings: tuple[Change, ...]
    code_version: Pair[str]
    libraries: tuple[Change, ...]
    decision: Pair[GateDecision]
    notes: tuple[str, ...] = ()
    """What could not be compared, and why."""

    def plain(self) -> dict[str, Any]:
        """As plain JSON values."""
        return self.model_dump(mode="json")
