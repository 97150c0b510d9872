"""What is written down of a finished round."""

from typing import Any

from pydantic import Field

from recap_core.config.base import Config
from recap_core.config.gate import GateDecision


class RecordIterationConfig(Config):
    """Whose round it was, under which settings, and what was decided."""

    project: str
    robot: str
    round_index: int = Field(ge=1)
    decision: GateDecision
    settings: dict[str, Any]
    """The project's settings without ``runtime``, as plain JSON values."""
