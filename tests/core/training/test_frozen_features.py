"""Training on a frozen encoder's tokens instead of images."""

from pathlib import Path

import jax
import numpy as np

from recap_core.config.stages import TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.data.frame_cache import FrameCache
from recap_core.data.frames import FrameTable
from recap_core.data.image_feed import ImageSource, image_source
from recap_core.features.cache import FeatureCache
from recap_core.features.encoder import BATCH_PER_DEVICE
from recap_core.features.frozen import FrozenFeatures, frozen_features
from recap_core.models.value_model import ValueModel
from recap_core.training.loop import train
from recap_core.training.state import TrainState
from recap_core.training.value_batches import ValueBatches
from recap_core.training.value_loss import value_loss
from tests.core.features import filmed
from tests.core.training import robot


def trained(
    table: FrameTable,
    config: TrainValueConfig,
    images: ImageSource | FrozenFeatures | None,
    work: Path,
) -> TrainState:
    """Four steps under frozen backbones, on frames of all episodes."""
    params, model = filmed.params(config), ValueModel(config.value.model)
    trainable = {
        name: jax.tree.map(lambda _, name=name: name not in {"img", "llm"}, part)
        for name, part in params.items()
    }
    batches = ValueBatches(table, robot.value_transform(config.value), config, images=images)
    runtime = TrainRuntime(log_interval=4)
    return train(
        value_loss(model), params, batches, config.train, runtime, work=work, trainable=trainable
    )


def test_training_on_tokens_is_training_on_images(tmp_path: Path) -> None:
    """Bit for bit the same parameters, averages and optimiser state, also in bfloat16.

    A batch has as many images as the cache encodes at once. Another number may be summed in another
    order, and then differs by rounding.
    """
    table = filmed.dataset(tmp_path / "dataset")
    config = filmed.config(compute_dtype="bfloat16", views=filmed.VIEWS[:2])
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"batch_size": BATCH_PER_DEVICE // 2})}
    )
    decoded = FrameCache(tmp_path / "frames")
    images = image_source(table.meta, filmed.CAMERAS, image_px=filmed.PX, cache=decoded)
    tokens = frozen_features(
        table.meta,
        config.value,
        filmed.encoder(config),
        cache=FeatureCache(tmp_path / "features"),
        num_uses=None,
    )

    with_images = trained(table, config, images, tmp_path / "images")
    with_tokens = trained(table, config, tokens, tmp_path / "tokens")

    jax.tree.map(np.testing.assert_array_equal, with_tokens._asdict(), with_images._asdict())
