"""When a new policy replaces the current one, and what was decided."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import Config

type Verdict = Literal["promoted", "candidate", "kept"]
"""``promoted``: the new policy is ``current``; ``candidate``: a person decides; ``kept``: the old
one stays."""


class TaskComparison(Config):
    """The new policy against the current one, on one task's episodes."""

    task: str
    num_episodes: int = Field(ge=0)
    """Episodes of the new policy."""
    current_rate: float | None = Field(default=None, ge=0, le=1)
    new_rate: float | None = Field(default=None, ge=0, le=1)
    low: float | None = Field(default=None, ge=-1, le=1)
    """Lower bound of the difference, new minus current; None where it was not computed."""
    high: float | None = Field(default=None, ge=-1, le=1)


class GateDecision(Config):
    """What became of a round's new policy, and why."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Sentences for people, the most important first."""
    tasks: tuple[TaskComparison, ...] = ()
