"""Tokens of any frames of a dataset, for batches in any order, under a frozen encoder."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from recap_core.config.embodiment import View
from recap_core.config.value import ValueConfig
from recap_core.data.layout import DatasetMeta, require_features
from recap_core.data.video_cache import CachedVideo
from recap_core.data.video_places import VideoPlaces, frames_per_video
from recap_core.features.cache import FeatureCache
from recap_core.features.encoder import FrozenEncoder
from recap_core.models.value_model import ValueInputs
from recap_core.progress import Progress

_log = logging.getLogger(__name__)

type Features = dict[str, Float[np.ndarray, "b p d"]]
"""By view, in the compute dtype."""


class FrozenFeatures:
    """SigLIP's tokens of a dataset's frames, in a feature cache."""

    def __init__(
        self,
        meta: DatasetMeta,
        views: Mapping[View, str | None],
        encoder: FrozenEncoder,
        cache: FeatureCache,
        videos: Mapping[Path, CachedVideo],
    ) -> None:
        """Find every frame's tokens.

        Args:
            meta: The dataset.
            views: Camera feature of every view of the model; None: the robot has no such camera.
            encoder: The frozen encoder.
            cache: Where its tokens are kept.
            videos: Tokens of every video of these cameras.

        Raises:
            EpisodeError: If a video is too short.
        """
        self._views = dict(views)
        self._encoder = encoder
        self._cache = cache
        self._videos = dict(videos)
        cameras = [camera for camera in views.values() if camera is not None]
        self._places = VideoPlaces(meta, cameras, self._videos)

    def at(self, frames: Int[np.ndarray, " b"]) -> Features:
        """Tokens of every view of any frames, by global index; zero for views without a camera."""
        shape = (len(frames), *self._encoder.shape)
        features: Features = {}
        for view, camera in self._views.items():
            features[view] = np.zeros(shape, self._encoder.dtype)
            if camera is not None:
                places = self._places.of(camera, frames)
                for tokens, place in zip(features[view], places, strict=True):
                    self._read(*place, tokens)
        return features

    def masks(self, num_samples: int) -> dict[str, Bool[np.ndarray, " b"]]:
        """Which views are real: those with a camera."""
        return {
            view: np.full(num_samples, camera is not None) for view, camera in self._views.items()
        }

    def added_to(self, inputs: ValueInputs, frames: Int[np.ndarray, " b"]) -> ValueInputs:
        """What the model sees of ``frames``, with tokens in place of images.

        Args:
            inputs: Made by :meth:`ValueTransform.without_images`.
            frames: Global indices.
        """
        features: Any = self.at(frames)
        masks: Any = self.masks(len(frames))
        return inputs._replace(image_features=features, image_masks=masks)

    def _read(self, video: Path, position: int, tokens: Float[np.ndarray, "p d"]) -> None:
        try:
            self._videos[video].read(position, tokens)
        except OSError:
            # Another training made room in the cache, or the file is damaged.
            self._videos[video] = self._cache.open(video, self._encoder)
            self._videos[video].read(position, tokens)


def camera_of_view(config: ValueConfig) -> dict[View, str | None]:
    """Camera feature of every view of a value model; None: the robot has no such camera."""
    return {view: config.embodiment.views.get(view) for view in config.model.views}


def frozen_features(  # noqa: PLR0913 - options are keyword-only
    meta: DatasetMeta,
    config: ValueConfig,
    encoder: FrozenEncoder,
    *,
    cache: FeatureCache,
    num_uses: int | None,
    progress: Progress | None = None,
) -> FrozenFeatures | None:
    """Tokens of a dataset's frames, where keeping them pays.

    Args:
        meta: The dataset.
        config: The value model, and the robot that it sees.
        encoder: Its frozen encoder.
        cache: Where tokens are kept.
        num_uses: How many images will be looked at, if that decides: None is returned if they are
            not more than there are, unless the cache has them all, or if the cache may not take
            them. None: the tokens are wanted in any case.
        progress: Who watches.

    Raises:
        ColumnError: If there is no such camera.
        DataError: If the tokens exceed the cache's budget and are wanted in any case.
        EpisodeError: If a video is missing, damaged or too short.
    """
    views = camera_of_view(config)
    cameras = [camera for camera in views.values() if camera is not None]
    require_features(meta, cameras)
    videos = frames_per_video(meta, cameras)
    num_images = sum(videos.values())
    if num_uses is not None:
        found = cache.found(videos, encoder)
        if found is not None:
            return FrozenFeatures(meta, views, encoder, cache, found)
        if num_uses <= num_images or not cache.fits(num_images, encoder):
            _log.info(
                "the frozen encoder runs in every step: %d images would take %.1f GB in %s",
                num_images,
                num_images * encoder.item_bytes / 1e9,
                cache.directory,
            )
            return None
    prepared = cache.prepare(videos, encoder, progress=progress)
    return FrozenFeatures(meta, views, encoder, cache, prepared)
