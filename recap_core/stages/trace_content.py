"""What a trace tells, as plain data (``model_dump(mode="json")``)."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from recap_core.config.gate import Verdict
from recap_core.lineage.manifest import Metric


class Traced(BaseModel):
    """A frozen set of facts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Named(Traced):
    """An artifact, or the id of one that is not in the store."""

    id: str
    kind: str
    """``removed``: it was removed, or never brought here."""
    name: str = ""
    refs: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """``<name>-<id8>``; the first digits of the id alone where the name is not known."""
        return f"{self.name}-{self.id[:8]}" if self.name else f"{self.id[:8]} (not here)"


class TracedRecording(Traced):
    """A recording, and who was there."""

    of: Named
    mode: str
    task: str
    round_index: int
    num_episodes: int
    num_successes: int
    num_frames: int
    num_intervention_frames: int
    collector: Named | None
    """The policy that drove; None: it is not known, or a person did."""
    robot: str | None
    operator: str | None
    """As the recorder wrote it into the episodes."""
    host: str
    """Machine that published it."""
    recorded_at: float | None
    """Start of its first episode, by the recorder's clock, Unix seconds; None: it is not known, or
    the clock was simulated."""
    published_at: AwareDatetime

    @property
    def intervention_share(self) -> float:
        """Frames by hand, of all."""
        return self.num_intervention_frames / self.num_frames


class TracedAnnotations(Traced):
    """Corrections of outcomes, and exclusions."""

    of: Named
    num_changed: int
    num_excluded: int


class TracedLabels(Traced):
    """Labels, and the rule behind them."""

    of: Named
    rule: str
    """As a sentence."""
    thresholds: dict[str, float | None] = {}
    """Advantage from which a frame is positive, by task."""
    num_positive: int
    num_negative: int
    num_none: int
    autonomous_positive_share: float
    values: str | None
    value_model: str | None


class TracedValueModel(Traced):
    """A value model, and what it showed on held-out episodes."""

    of: Named
    healthy: bool
    num_steps: int
    source: str | None
    metrics: dict[str, Metric]


class TracedEvaluation(Traced):
    """Success of a policy."""

    of: Named
    policy: str | None
    num_episodes: int
    num_successes: int
    success_rate: float
    success_low: float
    success_high: float

    def text(self) -> str:
        """``66.7 % [59, 74], 100 of 150``."""
        return (
            f"{100 * self.success_rate:.1f} % [{100 * self.success_low:.0f}, "
            f"{100 * self.success_high:.0f}], {self.num_successes} of {self.num_episodes}"
        )


class TracedPolicy(Traced):
    """A policy, and how it was trained."""

    of: Named
    stage: str
    dataset: Named | None
    num_episodes: int | None
    num_frames: int | None
    start: str | None
    """Policy whose parameters training started from."""
    source: str | None
    """Where an imported policy lay."""
    num_steps: int
    host: str
    code_version: str
    finished_at: AwareDatetime
    seconds: float


class TracedRound(Traced):
    """A finished round that an artifact was part of."""

    round: str
    """``project/robot/round-<k>``."""
    role: str
    verdict: Verdict
    id: str


class Origin(Traced):
    """What made an artifact."""

    policies: tuple[TracedPolicy, ...]
    """The policy itself first, then what its training started from."""
    recordings: tuple[TracedRecording, ...]
    annotations: tuple[TracedAnnotations, ...]
    labels: tuple[TracedLabels, ...]
    value_models: tuple[TracedValueModel, ...]
    evaluations: tuple[TracedEvaluation, ...]
    rounds: tuple[TracedRound, ...]
    missing: tuple[str, ...] = ()
    """Ids of what went into it and is not in this store."""
    code_versions: tuple[str, ...]


class Uses(Traced):
    """What was made of an artifact."""

    by_kind: dict[str, tuple[Named, ...]]
    """Datasets, labels, value models and so on, by kind."""
    policies: tuple[tuple[Named, tuple[TracedEvaluation, ...]], ...]
    in_use: dict[str, str]
    """Refs that say what is used now (``.../current``) and point to any of it, with the id."""
    rounds: tuple[TracedRound, ...]
    num_later_recordings: int = Field(ge=0)
    """Recordings that its policies collected."""


class Trace(Traced):
    """Both ways from one artifact; None: that way was not asked for."""

    subject: Named
    origin: Origin | None
    uses: Uses | None
