"""How a robot's columns become a model's inputs, and its outputs the robot's actions."""

from typing import Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config

type View = Literal["base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"]
"""Camera slots of the pi models, in token order."""


class EmbodimentConfig(Config):
    """Columns, action space and normalisation of one robot."""

    state: tuple[str, ...] = Field(default=("observation.state",), min_length=1)
    """Dataset features that are concatenated to the state vector."""
    action: str = "action"
    views: dict[View, str] = Field(default={})
    """Model view to dataset camera feature; empty: the model sees no images."""
    delta_mask: tuple[int, ...] = ()
    """openpi's run-length mask: (6, -1, 6, -1) makes two arms' joints relative to the current
    state and keeps the grippers absolute; empty keeps every action absolute."""
    normalization: Literal["quantile", "z_score"] = "quantile"
    std_floor: float = Field(default=0.0, ge=0)
    """Smallest std a z-score divides by."""
    state_clip: float | None = Field(default=None, gt=0)
    """Normalised state is clipped to +- this; None: not clipped, as openpi."""
    default_prompt: str | None = None
    """Prompt of every frame; None: the dataset's task text."""
    asset_id: str = "recap"
    """Directory of the norm stats inside a checkpoint's ``assets/``."""

    @model_validator(mode="after")
    def _delta_needs_plain_state(self) -> "EmbodimentConfig":
        if self.delta_mask and self.state[0] != "observation.state":
            raise ValueError(
                f"delta_mask needs observation.state as the first state feature, got {self.state}"
            )
        return self
