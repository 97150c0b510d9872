"""Stage 1: conversion, merging and normalisation statistics."""

from typing import Annotated, Literal

from pydantic import Field

from recap_core.config.base import Config
from recap_core.config.embodiment import EmbodimentConfig


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
    nearest_action_dims: tuple[int, ...] = (6, 13)
    """Action dims (grippers) that resampling holds instead of interpolating."""


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
