"""What every configuration has in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen settings object that refuses unknown keys and NaN.

    A *semantic* config decides what a stage produces and is part of its stage key. A *runtime*
    config (:class:`RuntimeConfig`) decides only how fast or where, and never is.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    def semantic(self) -> dict[str, Any]:
        """The settings that differ from their declared defaults, as plain JSON values.

        Leaving defaults out keeps old stage keys valid when a field is added (DESIGN §3).
        """
        return self.model_dump(mode="json", exclude_defaults=True)


class RuntimeConfig(Config):
    """Settings that change no result: workers, device, batch of inference, logging."""
