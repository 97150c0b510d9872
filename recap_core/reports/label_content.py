"""What pages about labels show: plain data, gathered elsewhere. All text is taken as untrusted."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from recap_core.reports.content import Fact, Note
from recap_core.reports.round_content import TaskChange


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One quantity over a grid of lookaheads (rows) and shares (columns)."""

    title: str
    text: str
    """What it means, in a sentence."""
    values: Float[np.ndarray, "n s"]
    """Drawn as percentages; NaN stays empty."""
    low: float
    """Value that has no colour; ``high`` has the full one."""
    high: float
    class_: Literal["positive", "negative", "candidate"] = "candidate"


@dataclass(frozen=True, kw_only=True)
class SweepPage:
    """A sweep over lookaheads and shares."""

    title: str
    subtitle: str
    rule: str
    facts: tuple[Fact, ...]
    notes: tuple[Note, ...]
    rows: tuple[str, ...]
    """Lookaheads, as text."""
    columns: tuple[str, ...]
    """Shares, as text."""
    maps: tuple[HeatMap, ...]
    tasks: tuple[HeatMap, ...]
    """Share of positives of every task."""


@dataclass(frozen=True, kw_only=True)
class ChangedPicture:
    """A frame whose label changed."""

    picture: str
    """JPEG as ``data:`` address; empty without cameras."""
    frame: int
    before: str
    after: str
    advantages: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ChangedEpisode:
    """An episode with changed labels."""

    name: str
    task: str
    outcome: str
    fps: int
    gained: int
    lost: int
    other: int
    before: Int[np.ndarray, " t"]
    after: Int[np.ndarray, " t"]
    is_intervention: Bool[np.ndarray, " t"]
    pictures: tuple[ChangedPicture, ...]


@dataclass(frozen=True, kw_only=True)
class DiffPage:
    """Two label sets beside each other."""

    title: str
    subtitle: str
    rules: tuple[str, str]
    facts: tuple[Fact, ...]
    notes: tuple[Note, ...]
    tasks: tuple[TaskChange, ...]
    episodes: tuple[ChangedEpisode, ...]
    num_more_episodes: int
    """Changed episodes that are not shown."""
