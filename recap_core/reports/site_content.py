"""What the pages over all rounds show: plain data, gathered elsewhere. All text is untrusted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from recap_core.config.changes import SettingChange
from recap_core.reports.content import Fact, LineageGraph, Note, SuccessBar
from recap_core.reports.families import Family
from recap_core.reports.round_content import DecisionPart, TaskChange, Verdict


@runtime_checkable
class Addresses(Protocol):
    """Where pages are, as seen from one of them; empty where there is none."""

    def home(self) -> str:
        """The page of all projects."""
        ...

    def project(self, project: str, robot: str) -> str:
        """The page over all rounds of a project on a robot."""
        ...

    def iteration(self, artifact_id: str) -> str:
        """The page of a round."""
        ...

    def artifact(self, artifact_id: str) -> str:
        """The page of an artifact."""
        ...

    def report(self, artifact_id: str) -> str:
        """The page that a report artifact holds."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Successes of one policy's evaluation, with the interval of their rate."""

    successes: int
    episodes: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Share of successes, in [0, 1]."""
        return self.successes / self.episodes


@dataclass(frozen=True, kw_only=True)
class ValueNumbers:
    """What a value model showed on held-out episodes; NaN where it was not measured."""

    healthy: bool
    imported: bool
    spearman: tuple[float, float, float]
    """Estimate, low, high."""
    separation: tuple[float, float, float]
    cross_entropy: float


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """Frames by label, all tasks together."""

    positive: int
    negative: int
    none: int

    @property
    def total(self) -> int:
        """All frames."""
        return self.positive + self.negative + self.none


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What one stage took."""

    stage: str
    family: Family
    artifact_id: str
    name: str
    seconds: float
    frames: int | None = None
    new_bytes: int | None = None
    """What its result added to the disk; None: not known."""

    @property
    def frames_per_second(self) -> float | None:
        """Frames over seconds; None where it says nothing."""
        return self.frames / self.seconds if self.frames and self.seconds > 0 else None


@dataclass(frozen=True, kw_only=True)
class RoundRow:
    """One round among all."""

    id: str
    """Of the artifact that records it."""
    round_index: int
    finished: str
    verdict: Verdict
    reasons: tuple[str, ...]
    policy_id: str | None
    report_id: str | None
    new: Rate | None
    """Of the round's new policy; None where it was not evaluated in simulation."""
    current: Rate | None
    """Of the policy that it was compared with."""
    is_current: bool
    """Whether its policy is what ``current`` points to now."""
    is_candidate: bool
    """Likewise ``candidate``."""
    num_new_episodes: int
    labels: LabelCounts | None
    flipped: float | None
    """Share of the frames in both rounds whose label changed; None: not known."""
    flips: tuple[TaskChange, ...]
    """The same by task; empty: not known."""
    value: ValueNumbers | None
    costs: tuple[StageCost, ...]
    """Stages that ran for this round; what an earlier one made is not among them."""
    changes: tuple[SettingChange, ...]
    """Settings that differ from the round before."""
    has_settings: bool = True
    """False where the round's file cannot be read."""

    @property
    def seconds(self) -> float:
        """Of all its stages."""
        return sum((cost.seconds for cost in self.costs), start=0.0)

    def seconds_of(self, family: Family) -> float:
        """Of the stages of one kind of work."""
        return sum((c.seconds for c in self.costs if c.family == family), start=0.0)

    @property
    def new_bytes(self) -> int | None:
        """What the round added to the disk; None: not known."""
        known = [cost.new_bytes for cost in self.costs if cost.new_bytes is not None]
        return sum(known) if known else None

    def new_bytes_of(self, family: Family) -> int:
        """Of the results of one kind of work, as far as they are known."""
        return sum(cost.new_bytes or 0 for cost in self.costs if cost.family == family)

    def flipped_of(self, task: str) -> float | None:
        """Share of a task's frames whose label changed; None: not known."""
        return next((flips.flipped for flips in self.flips if flips.task == task), None)


@dataclass(frozen=True, kw_only=True)
class RefMove:
    """One move of a ref."""

    artifact_id: str
    label: str
    at: str


@dataclass(frozen=True, kw_only=True)
class RefRow:
    """A ref with everything it pointed to, newest first."""

    name: str
    moves: tuple[RefMove, ...]


@dataclass(frozen=True, kw_only=True)
class RoundNode:
    """One artifact in the graph over all rounds."""

    id: str
    kind: str
    name: str
    round_index: int
    """Column; 0 is what existed before the first round."""
    lane: int
    """Row of its column."""
    highlight: bool = False
    faded: bool = False


@dataclass(frozen=True, kw_only=True)
class RoundGraph:
    """Artifacts in columns by round and lanes by kind, and what was made from what."""

    lanes: tuple[str, ...]
    nodes: tuple[RoundNode, ...]
    edges: tuple[tuple[str, str], ...]
    """(source, target); each is in ``nodes``."""


@dataclass(frozen=True, kw_only=True)
class ProjectPage:
    """All rounds of a project on a robot."""

    project: str
    robot: str
    updated: str
    facts: tuple[Fact, ...]
    rounds: tuple[RoundRow, ...]
    """Oldest first; a round done anew stands once, as it was done last."""
    start: Rate | None
    """Of the policy that every round starts from."""
    spearman_bar: float
    refs: tuple[RefRow, ...]
    graph: RoundGraph
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProjectRow:
    """A project on the page of all."""

    project: str
    robot: str
    num_rounds: int
    last_finished: str
    last_verdict: str
    rates: tuple[Rate | None, ...]
    """Success of every round's new policy."""
    current_id: str | None
    current_label: str


@dataclass(frozen=True, kw_only=True)
class ArtifactRow:
    """An artifact in a table."""

    id: str
    kind: str
    name: str
    finished: str
    role: str = ""
    seconds: float = 0.0
    in_store: bool = True


@dataclass(frozen=True, kw_only=True)
class HomePage:
    """Everything in a store."""

    home: str
    projects: tuple[ProjectRow, ...]
    latest: tuple[ArtifactRow, ...]
    num_artifacts: int
    num_unreadable: int = 0


@dataclass(frozen=True, kw_only=True)
class IterationPage:
    """One round."""

    project: str
    robot: str
    row: RoundRow
    bars: tuple[SuccessBar, ...]
    decision: DecisionPart | None
    parts: tuple[ArtifactRow, ...]
    """Everything that it took and made, with their roles."""
    graph: LineageGraph
    num_left_out: int
    """Datasets of earlier rounds that the graph does not show."""
    settings: str
    refs: tuple[str, ...]
    earlier: RoundRow | None
    later: RoundRow | None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """A file of an artifact."""

    path: str
    size_bytes: int
    is_shared: bool
    """Whether another artifact has the same bytes on disk."""


@dataclass(frozen=True, kw_only=True)
class ArtifactPage:
    """One artifact."""

    id: str
    kind: str
    name: str
    facts: tuple[Fact, ...]
    details: tuple[Fact, ...]
    metrics: tuple[Fact, ...]
    settings: str
    parents: tuple[ArtifactRow, ...]
    children: tuple[ArtifactRow, ...]
    refs: tuple[str, ...]
    rounds: tuple[RoundRow, ...]
    files: tuple[FileRow, ...]
    num_files: int
    size_bytes: int
    own_bytes: int
    """What deleting it would free."""
    notes: tuple[Note, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
