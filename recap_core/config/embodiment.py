"""How a robot's columns become a model's inputs, and its outputs the robot's actions.

A robot needs no code: a YAML file with these settings maps its columns (docs/robots.md).
"""

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from recap_core.config.base import Config

type View = Literal["base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"]
"""Camera slots of the pi models, in token order."""

type Name = Annotated[str, StringConstraints(min_length=1)]

ADAPTED_DIMS = 14
"""Width of the state and the action that ``adapt_to_pi`` converts: two arms of six joints and a
gripper."""

_ASSET_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")


class WireConfig(Config):
    """What clients call the cameras and the state of this robot.

    Names of the dataset's own features are always understood as well.
    """

    cameras: dict[Name, View] = Field(
        default={
            "cam_high": "base_0_rgb",
            "cam_left_wrist": "left_wrist_0_rgb",
            "cam_right_wrist": "right_wrist_0_rgb",
            "image": "base_0_rgb",
            "wrist_image": "left_wrist_0_rgb",
        }
    )
    """Camera name to the view it fills; the default has the names of openpi's Aloha and LIBERO
    clients. A camera ``x`` may come as ``images: {x: ...}``, ``observation/x`` or
    ``x-images-rgb``."""
    ignored_cameras: tuple[Name, ...] = ("cam_low",)
    """Cameras that clients may send and no view shows."""
    state: tuple[Name, ...] = ("state", "observation/state")
    """Keys of the whole state vector."""

    @model_validator(mode="after")
    def _a_camera_is_seen_or_ignored(self) -> "WireConfig":
        both = sorted(set(self.cameras) & set(self.ignored_cameras))
        if both:
            raise ValueError(f"cameras {both} are both shown and ignored; name each once")
        return self


class EmbodimentConfig(Config):
    """Columns, action space and normalisation of one robot."""

    state: tuple[Name, ...] = Field(default=("observation.state",), min_length=1)
    """Dataset features that are concatenated to the state vector."""
    action: Name = "action"
    state_dim: int | None = Field(default=None, ge=1)
    """Width of the state; None: that of the norm stats. Needed where those are padded, as the
    released ones of openpi are."""
    action_dim: int | None = Field(default=None, ge=1)
    """Width of the action; None: that of the norm stats."""
    views: dict[View, Name] = Field(default={})
    """Model view to dataset camera feature; empty: the model sees no images."""
    delta_mask: tuple[int, ...] = ()
    """openpi's run-length mask: (6, -1, 6, -1) makes two arms' joints relative to the current
    state and keeps the grippers absolute; empty keeps every action absolute."""
    adapt_to_pi: bool = False
    """Convert the joints and grippers of a standard Aloha to the space that the released base
    models were trained in. Never for YAM."""
    normalization: Literal["quantile", "z_score"] = "quantile"
    """openpi uses z-scores for pi0 and quantiles for the others."""
    std_floor: float = Field(default=0.0, ge=0)
    """Smallest std a z-score divides by."""
    state_clip: float | None = Field(default=None, gt=0)
    """Normalised state is clipped to +- this; None: not clipped, as openpi."""
    default_prompt: str | None = None
    """Prompt of every frame in training, and of observations without one in serving; None: the
    dataset's task text, and observations must bring theirs."""
    asset_id: str = "recap"
    """Directory of the norm stats inside a checkpoint's ``assets/``."""
    wire: WireConfig = WireConfig()
    """Names that clients of a policy server use."""

    @field_validator("state", mode="before")
    @classmethod
    def _list_of_features(cls, value: object) -> object:
        return _no_scalar(value, example="[observation.state]")

    @field_validator("delta_mask", mode="before")
    @classmethod
    def _list_of_runs(cls, value: object) -> object:
        return _no_scalar(value, example="[6, -1, 6, -1]")

    @field_validator("asset_id")
    @classmethod
    def _a_directory(cls, asset_id: str) -> str:
        if not _ASSET_ID.fullmatch(asset_id):
            raise ValueError(
                "names no directory inside a checkpoint's assets/; write for instance trossen or "
                "local/folding"
            )
        return asset_id

    @field_validator("views")
    @classmethod
    def _a_camera_fills_one_view(cls, views: dict[View, str]) -> dict[View, str]:
        for view, camera in views.items():
            others = [other for other in views if views[other] == camera and other != view]
            if others:
                raise ValueError(
                    f"camera {camera!r} is both {view} and {others[0]}; give each view its own "
                    "camera, or leave a wrist out: it is then black and masked"
                )
        return views

    @field_validator("state")
    @classmethod
    def _features_once(cls, state: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(state)) < len(state):
            raise ValueError(f"names a feature twice: {', '.join(state)}")
        return state

    @field_validator("delta_mask")
    @classmethod
    def _runs_of_dims(cls, delta_mask: tuple[int, ...]) -> tuple[int, ...]:
        if 0 in delta_mask:
            raise ValueError(
                "holds a run of 0 dims; write n for n relative dims and -n for n absolute ones, "
                "for instance [6, -1] for six joints and a gripper"
            )
        return delta_mask

    @model_validator(mode="after")
    def _delta_needs_plain_state(self) -> "EmbodimentConfig":
        is_no_joint_state = "environment_state" in self.state[0] or self.state[0] == self.action
        if self.delta_mask and is_no_joint_state:
            raise ValueError(
                f"delta_mask needs observation.state (the joints) as the first state feature, got "
                f"{self.state}"
            )
        covered = sum(abs(run) for run in self.delta_mask)
        for field in ("state_dim", "action_dim"):
            width = getattr(self, field)
            if width is not None and covered > width:
                raise ValueError(
                    f"delta_mask covers {covered} dims, but {field} is {width}; shorten it"
                )
        return self

    @model_validator(mode="after")
    def _only_two_arms_can_be_adapted(self) -> "EmbodimentConfig":
        wrong = {
            field: width
            for field in ("state_dim", "action_dim")
            if (width := getattr(self, field)) not in (None, ADAPTED_DIMS)
        }
        if self.adapt_to_pi and wrong:
            raise ValueError(
                f"adapt_to_pi converts the {ADAPTED_DIMS} dims of two Aloha arms, but "
                + " and ".join(f"{field} is {width}" for field, width in wrong.items())
                + "; set adapt_to_pi to false for this robot"
            )
        return self


def _no_scalar(value: object, *, example: str) -> object:
    if isinstance(value, (str, int)):
        raise ValueError(f"a list is needed, for instance {example}")  # noqa: TRY004 - pydantic's
    return value
