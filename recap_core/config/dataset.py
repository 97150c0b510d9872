"""Stage 1: conversion, merging and normalisation statistics."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config, RuntimeConfig
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.recording_map import PlainName, RecordingMap


class ConvertConfig(Config):
    """Raw episodes to LeRobot v3.0 with the five RECAP columns (SPEC §3)."""

    target_fps: int | None = Field(default=None, ge=1, le=1000)
    """Resample to this rate; None keeps the rate of the recording."""
    demonstrations: bool = False
    """Every frame counts as corrected by a human: intervention 1, ``adv_ind`` positive."""
    success_only: bool = False
    """Leave failed episodes out; never for RECAP."""
    task: str | None = None
    """Task text that replaces the recorded one."""
    nearest_action_dims: tuple[int, ...] | None = None
    """Action dims (grippers) that resampling holds instead of interpolating; None: those that
    ``robot`` marks, in the reference layout the seventh of every arm."""
    include_arms: tuple[PlainName, ...] | None = Field(default=None, min_length=1)
    """Arms that make state and action, in this order; None takes the followers, by name."""
    robot: RecordingMap = RecordingMap()
    """Which raw arrays and videos are what."""

    @model_validator(mode="after")
    def _arms_that_can_be_chosen(self) -> "ConvertConfig":
        arms = self.include_arms or ()
        if arms and not self.robot.is_per_arm:
            raise ValueError("include_arms needs a robot map whose files hold {arm}")
        if len(set(arms)) < len(arms):
            raise ValueError(f"include_arms names an arm twice: {', '.join(arms)}")
        return self


class ConvertRuntime(RuntimeConfig):
    """How a conversion runs."""

    max_workers: int | None = Field(default=None, ge=1, le=256)
    """Episodes that are worked on, and held in memory, at the same time; None: one per CPU."""


class MergeConfig(Config):
    """Several datasets into one, episodes renumbered, ``source`` and ``round`` kept."""

    repeats: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """How often each dataset is taken, in their order (oversampling); empty: once each."""


class NormStatsConfig(Config):
    """Mean, std and quantiles of state and actions, after the embodiment's delta transform."""

    embodiment: EmbodimentConfig = EmbodimentConfig()
    action_horizon: int = Field(default=50, ge=1)
    """Actions per chunk of the policy: delta actions reach further over a longer horizon."""
    quantiles: Literal["openpi_histogram", "exact"] = "openpi_histogram"


class LoadNormStatsConfig(Config):
    """Statistics that were computed elsewhere."""

    embodiment: EmbodimentConfig = EmbodimentConfig()
    norm_stats: dict[str, dict[str, tuple[float, ...]]]
    """The whole content of the file, so that other numbers are another artifact."""
