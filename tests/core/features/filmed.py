"""A filmed robot's dataset, and the smallest value model with two views for it."""

from pathlib import Path

import jax

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.stages import TrainValueConfig
from recap_core.data.frames import FrameTable
from recap_core.features.encoder import FrozenEncoder
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueModel
from tests.core.training import robot

CAMERAS = ("observation.images.head_camera", "observation.images.left_wrist_camera")
VIEWS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
PX = 28


def dataset(root: Path) -> FrameTable:
    """Four episodes, 46 frames, a video per episode and camera; no right wrist camera."""
    return robot.dataset(root, cameras=("head_camera", "left_wrist_camera"))


def config(**changes: object) -> TrainValueConfig:
    """A value model of three views, the last of which the robot lacks."""
    model = {"views": VIEWS, "image_px": PX} | changes
    trained = robot.train_value_config(**model)
    seen = EmbodimentConfig(
        normalization="z_score", views=dict(zip(VIEWS[:2], CAMERAS, strict=True))
    )
    value = trained.value.model_copy(update={"embodiment": seen})
    return trained.model_copy(update={"value": value, "freeze": "siglip_only"})


def params(config: TrainValueConfig) -> Params:
    """Fresh ones."""
    return ValueModel(config.value.model).init(jax.random.key(0))


def encoder(config: TrainValueConfig) -> FrozenEncoder:
    """The vision encoder of :func:`params`."""
    return FrozenEncoder(config.value.model, params(config))
