"""Stage 5: how values become advantages, and advantages ``adv_ind``; the rules that have names."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import Field, model_validator

from recap_core.config.base import Config

DISCOUNTABLE = ("per_task", "return_range")
"""Target rules whose targets are sums of rewards, which a discount may weigh."""


class TargetConfig(Config):
    """Per-frame value target and reward from (outcome, length, task statistics)."""

    rule: Literal["reference", "per_task", "fixed_limit", "return_range"] = "reference"
    """``reference``: the dataset's own columns (SPEC §3.1). ``per_task``: time to go over the
    task's longest episode, failures cost ``fail_cost`` more (DESIGN §4). ``fixed_limit``: time to
    go over ``limit_frames``, failures -1. ``return_range``: time to go, failures ``fail_frames``
    more, over the range of all returns of the dataset (RLinf)."""
    fail_cost: float = Field(default=1.0, ge=0)
    """c in C_fail = c * T_max, for ``per_task``."""
    limit_frames: int | None = Field(default=None, ge=1)
    fail_frames: float | None = Field(default=None, ge=0)
    """Cost of a failure in frames, for ``return_range``."""
    discount: float = Field(default=1.0, gt=0, le=1)
    """Weight of a reward one frame later, for ``per_task`` and ``return_range``."""

    @model_validator(mode="after")
    def _limit_belongs_to_fixed_limit(self) -> "TargetConfig":
        for name, rule in (("limit_frames", "fixed_limit"), ("fail_frames", "return_range")):
            value = getattr(self, name)
            if (self.rule == rule) != (value is not None):
                raise ValueError(
                    f"{name} is {value} with rule {self.rule!r}; "
                    f"set it for {rule!r} and for no other rule"
                )
        if self.discount != 1.0 and self.rule not in DISCOUNTABLE:
            raise ValueError(
                f"discount is {self.discount} with rule {self.rule!r}, whose targets are no sums "
                f"of rewards; leave it at 1, or use {' or '.join(DISCOUNTABLE)}"
            )
        return self


class FrozenArmConfig(Config):
    """Corrections in which one arm stood still while the other was corrected (SPEC §17)."""

    arms: tuple[tuple[int, int], ...] = Field(min_length=2)
    """First action dim of every arm and one past its last: [[0, 7], [7, 14]] for two arms of 7."""
    ratio: float = Field(default=0.25, gt=0, lt=1)
    """An arm stood still if it moved less than this share of the arm that moved most."""
    label: Literal["by_advantage", "none"] = "by_advantage"
    """What such frames are labelled, in place of ``positive``."""


class LabelConfig(Config):
    """The advantage rule of one labelling; a name of ``LABEL_PRESETS`` does as well."""

    lookahead: int | None = Field(default=50, ge=1)
    """N, frames; None: to the end of the episode (Monte Carlo)."""
    positive_share: float = Field(default=0.4, gt=0, le=1)
    """Share of the pool that becomes ``positive``."""
    threshold: float | None = None
    """An advantage from which on frames are positive, in place of the share."""
    threshold_per: Literal["task", "source", "dataset"] = "task"
    """One threshold for each task, for each recording or dataset that was merged, or for all."""
    selection: Literal["exact_share", "quantile"] = "exact_share"
    """``exact_share``: floor((n-1) share) + 1 frames of the pool, ties to the earlier frame.
    ``quantile``: all that reach the interpolated quantile, however many tie with it."""
    comparison: Literal["at_least", "above"] = "at_least"
    """What reaching a threshold means, where ties are not broken."""
    targets: TargetConfig = TargetConfig(rule="per_task")
    tail: Literal["last_value", "zero", "outcome"] = "last_value"
    """Value past the last frame: V of the last frame, 0, or 0 / -1 by success / failure."""
    cut_at_takeover: bool = False
    """End the window at the first corrected frame, so that stalls do not earn the repair."""
    pool: Literal["autonomous", "autonomous_latest_round", "all"] = "autonomous_latest_round"
    """Frames whose advantages set the threshold."""
    paused_frames: Literal["autonomous", "skip"] = "skip"
    """``skip``: time stands still while paused; no reward, no label."""
    interventions: Literal["positive", "by_advantage"] = "positive"
    """Label of corrected frames."""
    demonstrations: Literal["keep", "positive", "by_advantage"] = "keep"
    """Label of demonstrations: ``keep`` the one that they came with."""
    frozen_arms: FrozenArmConfig | None = None
    """Treat corrections in which an arm stood still apart; None: as any other."""

    @model_validator(mode="before")
    @classmethod
    def _from_its_name(cls, data: object) -> object:
        return label_preset(data).model_dump() if isinstance(data, str) else data

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, data: object) -> object:
        """Labels that are stored may still say ``per_task``, which had two answers."""
        if isinstance(data, Mapping) and "per_task" in data:
            settings = cast("Mapping[str, Any]", data)
            rest = {key: value for key, value in settings.items() if key != "per_task"}
            return rest | {"threshold_per": "task" if settings["per_task"] else "dataset"}
        return cast("object", data)

    @model_validator(mode="after")
    def _ties_are_broken_or_compared(self) -> "LabelConfig":
        if self.comparison == "above" and self.threshold is None and self.selection != "quantile":
            raise ValueError(
                "comparison is 'above' with selection 'exact_share', where ranks decide; choose "
                "selection 'quantile', or give a threshold"
            )
        return self


LABEL_PRESETS: Mapping[str, LabelConfig] = {
    "reference": LabelConfig(
        positive_share=0.3,
        threshold_per="dataset",
        targets=TargetConfig(rule="reference"),
        pool="autonomous",
        paused_frames="autonomous",
    ),
    "paper_finetune": LabelConfig(),
    "paper_pretrain": LabelConfig(lookahead=None, positive_share=0.3, pool="all"),
    "paper_speed": LabelConfig(positive_share=0.1),
    "sim_demo": LabelConfig(
        lookahead=8,
        positive_share=0.2,
        targets=TargetConfig(rule="fixed_limit", limit_frames=60),
        tail="outcome",
        cut_at_takeover=True,
        pool="autonomous",
    ),
    "rlinf": LabelConfig(
        lookahead=10,
        positive_share=0.3,
        threshold_per="dataset",
        selection="quantile",
        targets=TargetConfig(rule="return_range", fail_frames=300),
        tail="zero",
        pool="all",
        paused_frames="autonomous",
        interventions="by_advantage",
        demonstrations="positive",
    ),
    "evo_rl": LabelConfig(
        positive_share=0.3,
        selection="quantile",
        tail="zero",
        pool="all",
        paused_frames="autonomous",
        demonstrations="positive",
    ),
}
"""Label rules by name (DESIGN §4). ``reference``: the source documents. ``paper_*``: pi*0.6.
``sim_demo``: the demo (SIM.md §6a). ``rlinf``, ``evo_rl``: what those projects compute."""


def label_preset(name: str) -> LabelConfig:
    """The label rule of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in LABEL_PRESETS:
        raise ValueError(f"there is no label preset {name!r}; there are {', '.join(LABEL_PRESETS)}")
    return LABEL_PRESETS[name]
