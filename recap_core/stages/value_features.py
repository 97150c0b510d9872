"""Where the training of a value model finds the tokens of its frozen vision encoder."""

from typing import TYPE_CHECKING

from recap_core.config.stages import TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.config.value import ValueConfig
from recap_core.errors import ConfigError
from recap_core.lineage.store import Store
from recap_core.progress import Progress

if TYPE_CHECKING:
    from recap_core.data.frames import FrameTable
    from recap_core.features.cache import FeatureCache
    from recap_core.features.frozen import FrozenFeatures
    from recap_core.models.parameters import Params
    from recap_core.training.state import ParamsSource


def training_features(  # noqa: PLR0913 - options are keyword-only
    table: "FrameTable",
    config: TrainValueConfig,
    source: "ParamsSource",
    *,
    store: Store,
    runtime: TrainRuntime,
    progress: Progress | None,
) -> "FrozenFeatures | None":
    """The encoder's tokens of all frames, or None where the encoder runs in every step.

    Args:
        table: The dataset.
        config: What is trained, and what is frozen.
        source: Parameters that training starts from.
        store: Its cache is shared by all trainings.
        runtime: Whether to keep tokens, and how many.
        progress: Who watches.

    Raises:
        ConfigError: If tokens are to be kept that change in every step.
        DataError: If they are to be kept and take too much.
        EpisodeError: If a video is missing, damaged or too short.
    """
    if runtime.features == "recompute" or not config.value.model.views:
        return None
    reason = _why_tokens_change(config)
    if reason is not None:
        if runtime.features == "auto":
            return None
        raise ConfigError(
            f"features is 'cache', but {reason}, so every step has tokens of its own. Set features "
            "to auto or recompute."
        )
    from recap_core.features.encoder import FrozenEncoder
    from recap_core.features.frozen import frozen_features

    num_uses = config.train.num_steps * config.train.batch_size * len(_cameras(config.value))
    return frozen_features(
        table.meta,
        config.value,
        FrozenEncoder(config.value.model, _encoder_params(source, runtime)),
        cache=feature_cache(store, limit_gb=runtime.feature_cache_gb),
        num_uses=num_uses if runtime.features == "auto" else None,
        progress=progress,
    )


def feature_cache(store: Store, *, limit_gb: float | None = None) -> "FeatureCache":
    """The encoders' tokens that a store keeps."""
    from recap_core.features.cache import FeatureCache

    return FeatureCache(
        store.home / "cache" / "features",
        digests=store.digests,
        budget_bytes=None if limit_gb is None else int(limit_gb * 1e9),
    )


def _why_tokens_change(config: TrainValueConfig) -> str | None:
    if config.freeze == "none":
        return "the vision encoder is trained (freeze is 'none')"
    if config.train.augment is not None:
        return "images are changed at random (train.augment)"
    return None


def _cameras(config: ValueConfig) -> list[str]:
    views = config.embodiment.views
    return [views[view] for view in config.model.views if view in views]


def _encoder_params(source: "ParamsSource", runtime: TrainRuntime) -> "Params":
    """The encoder's parameters as training reads them, in NumPy, in every process."""
    import jax
    import numpy as np

    from recap_core.sharding import fsdp_shardings, replicated
    from recap_core.training.loop import training_mesh

    mesh = training_mesh(runtime)
    shardings = fsdp_shardings(source.shapes, mesh, min_bytes=runtime.fsdp_min_bytes)
    params = jax.device_put(source.make(shardings)["img"], shardings["img"])
    whole = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(params)
    return jax.tree.map(np.asarray, whole)
