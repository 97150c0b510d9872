"""One episode as the checks see it, whether it comes from a dataset or a recording."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from recap_core.data.checks.finding import Finding, Place
from recap_core.data.columns import INTERVENTION


@dataclass(frozen=True)
class Episode:
    """Columns of one episode that could be read, in frame order, all of one length."""

    name: int | str
    """Number in a dataset, directory name in a recording."""
    start: int
    """Frames of the dataset before it."""
    columns: Mapping[str, np.ndarray]
    success: bool | None
    """None if it cannot be told."""
    origin: str = ""
    """Which recorded episode it is; empty if unknown."""

    @property
    def length(self) -> int:
        """Frames."""
        return len(next(iter(self.columns.values())))

    @property
    def is_demonstration(self) -> bool:
        """Whether a human drove throughout."""
        flags = self.columns.get(INTERVENTION)
        return flags is not None and bool((flags == 1).all())

    def place(self, feature: str | None = None, *, frame: float | int | None = None) -> Place:
        """A place in this episode."""
        number = None if frame is None else int(frame)
        return Place(episode=self.name, frame=number, feature=feature)


@runtime_checkable
class EpisodeCheck(Protocol):
    """A check that sees every episode once."""

    def look(self, episode: Episode) -> Iterable[Finding]:
        """What is wrong with this episode."""
        ...

    def finish(self) -> Iterable[Finding]:
        """What is wrong with all of them together."""
        ...


def first_of(bad: np.ndarray) -> tuple[int, int]:
    """Position of the first marked frame, and how many are marked; at least one is."""
    frames = np.flatnonzero(bad)
    return int(frames[0]), len(frames)
