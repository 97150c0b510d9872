"""Stage 5: how values become advantages, and advantages ``adv_ind``."""

from typing import Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config


class TargetConfig(Config):
    """Per-frame value target and reward from (outcome, length, task statistics)."""

    rule: Literal["reference", "per_task", "fixed_limit"] = "reference"
    """``reference``: the dataset's own columns (SPEC §3.1). ``per_task``: time to go over the
    task's longest episode, failures cost ``fail_cost`` more (DESIGN §4). ``fixed_limit``: time to
    go over ``limit_frames``, failures -1."""
    fail_cost: float = Field(default=1.0, ge=0)
    """c in C_fail = c * T_max, for ``per_task``."""
    limit_frames: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _limit_belongs_to_fixed_limit(self) -> "TargetConfig":
        if (self.rule == "fixed_limit") != (self.limit_frames is not None):
            raise ValueError(
                f"limit_frames is {self.limit_frames} with rule {self.rule!r}; "
                "set it for 'fixed_limit' and for no other rule"
            )
        return self


class LabelConfig(Config):
    """The advantage rule of one labelling."""

    lookahead: int | None = Field(default=50, ge=1)
    """N, frames; None: to the end of the episode (Monte Carlo)."""
    positive_share: float = Field(default=0.4, gt=0, le=1)
    """Share of the pool that becomes ``positive``."""
    per_task: bool = True
    """One threshold per task; else one for the dataset."""
    targets: TargetConfig = TargetConfig(rule="per_task")
    tail: Literal["last_value", "zero", "outcome"] = "last_value"
    """Value past the last frame: V of the last frame, 0, or 0 / -1 by success / failure."""
    cut_at_takeover: bool = False
    """End the window at the first corrected frame, so that stalls do not earn the repair."""
    pool: Literal["autonomous", "autonomous_latest_round", "all"] = "autonomous_latest_round"
    """Frames whose advantages set the threshold."""
    paused_frames: Literal["autonomous", "skip"] = "skip"
    """``skip``: time stands still while paused; no reward, no label."""
