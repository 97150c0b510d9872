"""Publishing a recorded session in the store."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import Config


class IngestConfig(Config):
    """What a session is. Its content is part of the key, so that it is found again."""

    source_digest: str = Field(pattern=r"^[0-9a-f]{32}$")
    """xxh3-128 of the finished episodes, hexadecimal."""
    mode: Literal["demonstration", "rollout"]
    round_index: int = Field(ge=0)
    """0 for demonstrations, k for the rollouts of iteration k."""
