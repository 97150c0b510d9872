"""An evaluation from episodes that an operator watched on a real robot."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import Config


class ScoreConfig(Config):
    """How recorded episodes of a policy count."""

    takeovers: Literal["failure", "leave_out"] = "failure"
    """An episode in which somebody took over: the policy could not do it alone, or it says nothing
    of the policy. ``recap score`` and ``recap evaluate --recording`` leave such episodes of a
    session that was recorded as an evaluation out: nobody was to take over there."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the success rate's interval."""
