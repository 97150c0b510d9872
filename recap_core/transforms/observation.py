"""State vector and camera frames out of a batch of observations."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped

from recap_core.config.embodiment import EmbodimentConfig, View
from recap_core.errors import ConfigError, DataError
from recap_core.transforms.images import BLACK, resize_with_pad, to_model_range, to_uint8_hwc

logger = logging.getLogger(__name__)

BASE_VIEW: View = "base_0_rgb"
"""The one view that no robot may lack."""

_IMAGE_PREFIX = "observation.images."


class ObservationReader:
    """Picks what a model sees out of observations, by the names of an embodiment.

    Args:
        embodiment: Names of the robot's features.
        views: Views of the model, in its order; empty: no images.
        image_px: Side of the model's square images.

    Raises:
        ConfigError: If the model needs a base view and the embodiment names no camera for it.
    """

    def __init__(
        self, embodiment: EmbodimentConfig, views: Sequence[View], *, image_px: int
    ) -> None:
        self._state_features = embodiment.state
        self._cameras: dict[View, str | None] = {view: embodiment.views.get(view) for view in views}
        self._known_cameras = set(embodiment.views.values())
        self._image_px = image_px
        if BASE_VIEW in self._cameras and self._cameras[BASE_VIEW] is None:
            raise ConfigError(
                f"the model sees {list(views)}, but embodiment.views names no camera for "
                f"{BASE_VIEW}. Add it, or give the model no views."
            )

    def state(self, observations: Mapping[str, np.ndarray]) -> Float[np.ndarray, "b s"]:
        """The state features side by side, in the robot's units.

        float64 where they are float64, which openpi's clients may send; else float32.

        Args:
            observations: Feature name to array, batch first; a feature is (batch,) or (batch, d).

        Raises:
            DataError: If a state feature is missing or has another shape.
        """
        return np.concatenate([self._column(observations, f) for f in self._state_features], axis=1)

    def images(
        self, observations: Mapping[str, np.ndarray], *, batch_size: int, as_uint8: bool = False
    ) -> tuple[dict[str, Shaped[np.ndarray, "b h w 3"]], dict[str, Bool[np.ndarray, " b"]]]:
        """Images in [-1, 1] of every view of the model, and which of them are real.

        A wrist view whose camera the robot or the observation lacks is black and masked. With
        ``as_uint8``, images stay 0-255: a quarter of the bytes, for whoever scales them later.

        Raises:
            DataError: If the base camera is missing, or a wrist camera is while the observation
                has a camera that nothing reads (a misspelled name), or images have another shape.
        """
        images, masks = {}, {}
        for view, feature in self._cameras.items():
            if feature is None or feature not in observations:
                self._check_may_be_missing(view, feature, observations)
                shape = (batch_size, self._image_px, self._image_px, 3)
                black = (0, np.uint8) if as_uint8 else (BLACK, np.float32)
                images[view] = np.full(shape, *black)
                masks[view] = np.zeros(batch_size, bool)
                continue
            frames = to_uint8_hwc(observations[feature], feature=feature)
            if len(frames) != batch_size:
                raise DataError(f"{feature} has {len(frames)} images for {batch_size} samples.")
            resized = resize_with_pad(frames, self._image_px, self._image_px)
            images[view] = resized if as_uint8 else to_model_range(resized)
            masks[view] = np.ones(batch_size, bool)
        return images, masks

    def _column(
        self, observations: Mapping[str, np.ndarray], feature: str
    ) -> Float[np.ndarray, "b d"]:
        if feature not in observations:
            raise DataError(
                f"state feature {feature!r} is not in the observation, which has "
                f"{sorted(observations)}. Correct embodiment.state."
            )
        column = np.asarray(observations[feature])
        if column.dtype != np.float64:
            column = column.astype(np.float32)
        if column.ndim not in (1, 2):
            raise DataError(
                f"state feature {feature!r} has shape {column.shape}; expected (batch,) or "
                "(batch, dims)."
            )
        return column.reshape(len(column), -1)

    def _check_may_be_missing(
        self, view: View, feature: str | None, observations: Mapping[str, np.ndarray]
    ) -> None:
        """Raise DataError unless the absence of ``view`` is a plain missing wrist camera."""
        if feature is None:
            return
        known = self._known_cameras
        unknown = sorted(f for f in observations if f.startswith(_IMAGE_PREFIX) and f not in known)
        if view == BASE_VIEW or unknown:
            raise DataError(
                f"camera {feature!r} ({view}) is not in the observation"
                + (f", which has the unknown {unknown}" if unknown else "")
                + ". Send it, or correct embodiment.views."
            )
        logger.debug("camera %s is absent; %s is masked", feature, view)
