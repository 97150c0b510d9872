"""Joints that do not move, and joints that jump."""

from collections.abc import Generator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.config.validation import ValidateConfig
from recap_core.data.checks.episode import Episode
from recap_core.data.checks.finding import Finding, Place
from recap_core.data.columns import ACTION, STATE


class _Steps(NamedTuple):
    """Differences of neighbouring frames of one episode, per dimension."""

    episode: int | str
    largest: np.ndarray
    frame: np.ndarray
    """Frame that the largest step leads to."""
    typical: np.ndarray
    """95 % of the steps are at most this."""


class MotionCheck:
    """Constant and jumping dimensions of state and action.

    Of every episode only a few numbers per dimension are kept.
    """

    def __init__(self, config: ValidateConfig, names: Mapping[str, list[str] | None]) -> None:
        """Prepare the check.

        Args:
            config: What counts as a jump.
            names: Name of every dimension, per feature.
        """
        self._config = config
        self._names = names
        self._low: dict[str, np.ndarray] = {}
        self._high: dict[str, np.ndarray] = {}
        self._steps: dict[str, list[_Steps]] = {STATE: [], ACTION: []}

    def look(self, episode: Episode) -> Generator[Finding]:
        """Motion within one episode."""
        for name in (STATE, ACTION):
            values = episode.columns.get(name)
            if values is None or values.ndim > 2 or not np.isfinite(values).all():
                continue
            values = values.reshape(episode.length, -1)  # one dimension is read as a scalar
            low, high = values.min(axis=0), values.max(axis=0)
            if low.shape != self._low.setdefault(name, low).shape:
                continue  # another robot's episode; the schema check says so
            self._low[name] = np.minimum(low, self._low[name])
            self._high[name] = np.maximum(high, self._high.setdefault(name, high))
            if (low == high).all() and len(values) > 1:
                yield Finding(
                    severity="warning",
                    check="constant",
                    where=episode.place(name),
                    value=f"no dimension changes in {len(values)} frames",
                    rule="a robot that works moves: the recorder or the robot seems to have hung",
                    fix="look at the episode, and exclude it with an annotation",
                )
            if len(values) > 2:
                steps = _steps(episode.name, values, spikes_only=name == ACTION)
                self._steps[name].append(steps)

    def finish(self) -> Generator[Finding]:
        """What only all episodes together show."""
        for name, low in self._low.items():
            for dim in np.flatnonzero(low == self._high[name]).tolist():
                yield Finding(
                    severity="warning",
                    check="constant",
                    where=Place(feature=self._dimension(name, dim)),
                    value=f"{low[dim]:.4g} in every frame of the dataset",
                    rule="a dimension that never changes teaches nothing: a dead sensor?",
                    fix="check the joint's driver, or leave the dimension out",
                )
        for name, steps in self._steps.items():
            if steps:
                yield from self._jumps(name, steps)

    def _jumps(self, name: str, steps: list[_Steps]) -> Generator[Finding]:
        typical = np.median(np.stack([step.typical for step in steps]), axis=0)
        span = self._high[name] - self._low[name]
        for step in steps:
            # No typical step: a dimension that only switches, such as a binary gripper command.
            is_jump = (typical > 0) & (step.largest > self._config.jump_factor * typical)
            is_jump &= step.largest > self._config.jump_share * span
            for dim in np.flatnonzero(is_jump).tolist():
                kind = "state" if name == STATE else "command"
                yield Finding(
                    severity="warning",
                    check="jumps",
                    where=Place(
                        episode=step.episode,
                        frame=int(step.frame[dim]),
                        feature=self._dimension(name, dim),
                    ),
                    value=f"a step of {step.largest[dim]:.4g}; most are below {typical[dim]:.4g}",
                    rule=f"no {kind} jumps from one frame to the next: frames lost, or a wrong "
                    "reading",
                    fix="look at the episode, and exclude it with an annotation",
                )

    def _dimension(self, name: str, dim: int) -> str:
        names = self._names.get(name)
        return f"{name}[{dim}]" + (f" {names[dim]}" if names and dim < len(names) else "")


def _steps(episode: int | str, values: Float[np.ndarray, "t d"], *, spikes_only: bool) -> _Steps:
    """Steps of an episode; of commands only those that are taken back at once.

    A command may change at any time (a takeover, a new action chunk), but it does not leave and
    come back within two frames.
    """
    change = np.diff(values.astype(np.float64), axis=0)
    steps = np.abs(change)
    typical = np.quantile(steps, 0.95, axis=0)
    if spikes_only:
        is_back = np.sign(change[:-1]) == -np.sign(change[1:])
        steps = np.where(is_back, np.minimum(steps[:-1], steps[1:]), 0)
    return _Steps(episode, steps.max(axis=0), steps.argmax(axis=0) + 1, typical)
