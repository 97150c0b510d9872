"""What is said of a round beside its success: the decision, offline checks, what changed."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from recap_core.config.changes import SettingChange

type Verdict = Literal["promoted", "candidate", "kept"]

VERDICT_WORDS: dict[str, str] = {
    "promoted": "Promoted",
    "candidate": "Candidate",
    "kept": "Not taken",
}


@dataclass(frozen=True, kw_only=True)
class TaskRate:
    """One task under the new and the current policy."""

    task: str
    num_episodes: int
    current: float | None
    new: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class DecisionPart:
    """What became of the new policy, and why."""

    verdict: Verdict
    reasons: tuple[str, ...]
    tasks: tuple[TaskRate, ...]


class ClassRow(NamedTuple):
    """Action errors on held-out frames of one kind, in standard deviations."""

    frame_class: str
    num_frames: int
    error: float | None
    current_error: float | None


class OfflinePart(NamedTuple):
    """What the new policy does on recorded frames, without a robot."""

    num_episodes: int
    num_frames: int
    rows: tuple[ClassRow, ...]
    failed: tuple[str, ...]
    warnings: tuple[str, ...]
    seen_in_training: bool


@dataclass(frozen=True, kw_only=True)
class TaskChange:
    """How the labels of a task's frames changed."""

    task: str
    num_frames: int
    gained: int
    """Became positive."""
    lost: int
    """Were positive."""
    other: int
    """Changed between negative and none."""
    before: float
    """Share of positives among all frames."""
    after: float

    @property
    def flipped(self) -> float:
        """Share of the frames whose label changed, in [0, 1]."""
        return (self.gained + self.lost + self.other) / self.num_frames


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A number before and after, in words."""

    label: str
    before: str
    after: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class RoundChange:
    """What is different from the round before."""

    round_index: int
    """Of the round before."""
    moved: tuple[Moved, ...]
    labels: tuple[TaskChange, ...]
    """By task, on the episodes that both rounds have; empty if labels cannot be compared."""
    settings: tuple[SettingChange, ...]
    num_new_episodes: int
    num_new_frames: int
