"""What a report shows: plain data, computed elsewhere.

The stage that writes a report fills these classes from artifacts. Nothing here reads a file, and
the reports package derives nothing from them but positions, counts and words. All text is taken
as untrusted.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from recap_core.arrays import Image
from recap_core.reports.round_content import DecisionPart, OfflinePart, RoundChange
from recap_core.valuation.calibration import Calibration
from recap_core.valuation.calibration import Interval as Measured

type Outcome = Literal["better", "worse", "undecided"]
type Role = Literal["train", "validation", "test", "unseen"]
"""What an episode was to the value model's training; ``unseen``: no part of its data."""

ROLE_WORDS: dict[str, str] = {
    "train": "trained on",
    "validation": "held out, for validation",
    "test": "held out",
    "unseen": "not in its training data",
}


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One labelled value, already in words."""

    label: str
    value: str
    note: str = ""
    """A few words on what the value means or includes."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """An honest remark: what was left out, replaced, or must be kept in mind."""

    text: str
    severity: Literal["info", "warning"] = "info"


@dataclass(frozen=True, kw_only=True)
class SuccessBar:
    """How often one policy succeeds, with the interval of its success rate."""

    name: str
    successes: int
    episodes: int
    low: float
    """Lower end of the interval, in [0, 1]."""
    high: float
    """Upper end of the interval, in [0, 1]."""
    per_1000_frames: float
    """Successes per 1000 policy frames."""
    role: Literal["candidate", "baseline", "control", "earlier"] = "earlier"
    """``candidate`` is drawn in the accent colour."""
    note: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.episodes or self.episodes == 0:
            raise ValueError(
                f"{self.name!r} has {self.successes} successes in {self.episodes} episodes"
            )
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(
                f"the interval of {self.name!r} is [{self.low}, {self.high}]; "
                "it must be ordered and within [0, 1]"
            )

    @property
    def rate(self) -> float:
        """Share of successful episodes, in [0, 1]."""
        return self.successes / self.episodes


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How much more often one policy succeeds than another."""

    candidate: str
    """Name of a :class:`SuccessBar`."""
    baseline: str
    """Name of another."""
    difference: float
    """Success rate of the candidate minus that of the baseline, in [-1, 1]."""
    low: float
    high: float
    outcome: Outcome
    """Decided by whoever computed the interval."""
    method: str = ""
    """What it rests on, such as ``150 same seeds: 58 gained, 10 lost``."""
    confidence: float = 0.95
    """Of the interval."""


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """One camera frame of an episode."""

    frame: int
    """Frame index within the episode."""
    image: Image
    camera: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ValueCurve:
    """Value, advantage and label of every frame of one episode."""

    title: str
    episode_index: int
    fps: int
    outcome: Literal["success", "failure"]
    values: Float[np.ndarray, " t"]
    """V(o_t) in [-1, 0]; NaN where it was not inferred."""
    targets: Float[np.ndarray, " t"]
    """Value target in [-1, 0]; NaN where there is none."""
    advantage: Float[np.ndarray, " t"]
    """NaN where it is undefined."""
    adv_ind: Int[np.ndarray, " t"]
    """Codes of :data:`recap_core.labels.adv_ind.NAMES`."""
    is_intervention: Bool[np.ndarray, " t"]
    threshold: float | None = None
    """Smallest positive advantage of the episode's task."""
    thumbnails: tuple[Thumbnail, ...] = ()
    """In frame order; about eight fit below the time axis."""
    note: str = ""

    def __post_init__(self) -> None:
        arrays = ("values", "targets", "advantage", "adv_ind", "is_intervention")
        lengths = {name: len(getattr(self, name)) for name in arrays}
        if len(set(lengths.values())) != 1 or not self.num_frames:
            raise ValueError(
                f"episode {self.episode_index}: columns must be of one length of at least 1, "
                f"got {lengths}"
            )
        outside = [t.frame for t in self.thumbnails if not 0 <= t.frame < self.num_frames]
        if outside:
            raise ValueError(
                f"episode {self.episode_index}: a thumbnail shows frame {outside[0]} of "
                f"{self.num_frames}"
            )

    @property
    def num_frames(self) -> int:
        """Length of the episode."""
        return len(self.values)


@dataclass(frozen=True, kw_only=True)
class LabelShare:
    """Frames of one task by label and by who drove; the five groups do not overlap."""

    task: str
    positive: int
    """Autonomous frames labelled positive."""
    negative: int
    """Autonomous frames labelled negative."""
    none: int
    """Frames without a statement: paused, or not labelled."""
    intervention: int = 0
    """Corrected frames of rollouts; positive."""
    demonstration: int = 0
    """Frames of demonstrations; they keep their labels."""
    threshold: float | None = None
    autonomous_positive_share: float | None = None
    """Achieved share of positives in the threshold's pool, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingCurve:
    """Loss of one training run."""

    name: str
    steps: Shaped[np.ndarray, " k"]
    loss: Float[np.ndarray, " k"]
    held_out_steps: Shaped[np.ndarray, " m"] | None = None
    held_out_loss: Float[np.ndarray, " m"] | None = None
    loss_name: str = "loss"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value with its interval, and the bar its lower end must pass."""

    value: float
    low: float
    high: float
    bar: float


@dataclass(frozen=True, kw_only=True)
class HealthSummary:
    """What the value model showed on held-out episodes."""

    healthy: bool
    spearman: Interval
    """Rank correlation of V with its target."""
    separation: Interval
    """Mean V in successes minus mean V in failures."""
    largest_bin_share: float
    """Share of the predicted mass in the fullest bin, in [0, 1]: 1 is a collapsed model."""
    largest_bin_limit: float
    cross_entropy: float
    """Nats."""
    top1: float
    top5: float
    held_out_episodes: int
    measured_on: str = "episodes it was not trained on"
    """What kind of episodes those are."""
    reasons: tuple[str, ...] = ()
    """Why it is not healthy; empty if it is."""


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """The numbers of one task."""

    task: str
    num_success_episodes: int
    num_failure_episodes: int
    num_frames: int
    cross_entropy: float
    """Nats; NaN where only V is stored."""
    spearman: Measured
    separation: Measured


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """An episode whose V contradicts its mark."""

    episode_index: int
    outcome: Literal["success", "failure"]
    """As marked."""
    score: float
    """In [0, 1]: 1 is all that the other outcome would show."""
    late_value: float
    late_target: float
    other_target: float
    role: Role
    command: str
    """What corrects the mark."""
    has_panel: bool = False
    """Whether the page shows the episode."""


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage of the run."""

    stage: str
    artifact_name: str
    artifact_id: str
    seconds: float
    """Time spent in this run; near zero when cached."""
    cached: bool = False
    frames: int | None = None
    note: str = ""
    new_bytes: int | None = None
    """Bytes of files that nothing before it had; None: not looked at."""

    @property
    def frames_per_second(self) -> float | None:
        """Frames over seconds; None where there are none of either, or it was cached."""
        return (
            None
            if self.cached or not self.frames or not self.seconds
            else (self.frames / self.seconds)
        )


@dataclass(frozen=True, kw_only=True)
class LineageNode:
    """One artifact."""

    id: str
    kind: str
    """An artifact kind of :data:`recap_core.lineage.artifacts.KINDS`."""
    name: str
    highlight: bool = False
    """Drawn in the accent colour: the artifact the report is about."""
    address: str = ""
    """Where its box leads; empty: nowhere."""


@dataclass(frozen=True, kw_only=True)
class LineageEdge:
    """``target`` was made from ``source``."""

    source: str
    target: str
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class LineageGraph:
    """Artifacts and what they were made from; without cycles."""

    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What it takes to get the same result again."""

    facts: tuple[Fact, ...] = ()
    """Seed, code version, library versions, host."""
    commands: tuple[str, ...] = ()
    """Shell lines, in order."""
    config: str = ""
    """The run's settings as text (YAML or JSON)."""


@dataclass(frozen=True, kw_only=True)
class IterationReport:
    """Everything one report shows. Empty parts leave no trace in the page."""

    title: str
    success_bars: tuple[SuccessBar, ...]
    """In reading order: usually start, control, new; or one per round."""
    subtitle: str = ""
    """Project, robot, task."""
    created: str = ""
    """Date and time in words; passed in so that equal data give equal bytes."""
    confidence: float = 0.95
    """Of the intervals of success rates."""
    comparisons: tuple[Comparison, ...] = ()
    """The first one is the headline."""
    decision: DecisionPart | None = None
    offline: OfflinePart | None = None
    change: RoundChange | None = None
    """Against the round before."""
    costs: tuple[Fact, ...] = ()
    """Time, robot frames, operator frames, disk."""
    notes: tuple[Note, ...] = ()
    value_curves: tuple[ValueCurve, ...] = ()
    label_rule: str = ""
    """The label rule in words."""
    label_shares: tuple[LabelShare, ...] = ()
    health: HealthSummary | None = None
    calibration: Calibration | None = None
    """On the same held-out episodes."""
    tasks: tuple[TaskRow, ...] = ()
    audit: tuple[AuditRow, ...] = ()
    """Episodes whose V contradicts their mark, by falling score."""
    num_audited: int = 0
    """Episodes that were looked at for it."""
    fps: int = 1
    training_curves: tuple[TrainingCurve, ...] = ()
    stages: tuple[StageRow, ...] = ()
    num_earlier_stages: int = 0
    """Stages of earlier rounds that these built on; they are not among ``stages``."""
    lineage: LineageGraph | None = None
    num_left_out: int = 0
    """Datasets of earlier rounds that ``lineage`` does not show."""
    reproduction: Reproduction | None = None

    def __post_init__(self) -> None:
        names = {bar.name for bar in self.success_bars}
        for comparison in self.comparisons:
            for name in (comparison.candidate, comparison.baseline):
                if name not in names:
                    raise ValueError(
                        f"a comparison names {name!r}, which has no success bar; "
                        f"bars: {', '.join(sorted(names)) or 'none'}"
                    )

    def bar(self, name: str) -> SuccessBar:
        """The success bar of that name."""
        return next(bar for bar in self.success_bars if bar.name == name)
