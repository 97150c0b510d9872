"""Value training under a frozen vision encoder: its tokens read, or computed in every step."""

import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.labels import TargetConfig
from recap_core.config.policy import PromptConfig, SiglipConfig
from recap_core.config.sizes import VALUE_670M
from recap_core.config.stages import FreezeMode, TrainValueConfig
from recap_core.config.training import OptimizerConfig, TrainConfig
from recap_core.config.value import Gemma3Config, ValueConfig, ValueModelConfig
from recap_core.data.frame_cache import FrameCache
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.image_feed import ImageSource, image_source
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.features.cache import FeatureCache
from recap_core.features.encoder import FrozenEncoder
from recap_core.features.frozen import FrozenFeatures, frozen_features
from recap_core.models.parameters import Params
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.models.value_model import ValueModel
from recap_core.sharding import device_mesh
from recap_core.training.flops import value_flops
from recap_core.training.optimizer import make_optimizer
from recap_core.training.prefetch import Prefetch
from recap_core.training.state import TrainState, initial_state
from recap_core.training.step import TrainStep, make_train_step
from recap_core.training.value_batches import ValueBatches
from recap_core.training.value_freezing import trainable_value_leaves
from recap_core.training.value_loss import value_loss
from recap_core.training.value_validation import ValueValidation
from recap_core.transforms.value_transform import ValueTransform

NUM_ROUNDS, STEPS_PER_ROUND, BATCH_SIZE = 6, 5, 16
CAMERAS = ("observation.images.head_camera", "observation.images.left_wrist_camera")
MODEL = ValueModelConfig(
    gemma=Gemma3Config(
        width=80, depth=3, mlp_dim=256, num_heads=2, num_kv_heads=1, head_dim=32, global_every=3
    ),
    siglip=SiglipConfig(width=144, depth=4, mlp_dim=538, num_heads=2),
    image_px=112,
    vocab_size=400,
    max_token_len=12,
    head_hidden=40,
    compute_dtype="float32",
)
"""An eighth of the full model's widths, a sixth of its depths, half its image size: the encoder's
share of the operations is about the same."""


class Side(NamedTuple):
    """One way to train, and how far it is."""

    batches: ValueBatches
    validation: ValueValidation
    step: TrainStep


def config(freeze: FreezeMode) -> TrainValueConfig:
    """Two cameras, Adam at a rate that moves something in thirty steps."""
    views = dict(zip(MODEL.views, CAMERAS, strict=True))
    return TrainValueConfig(
        value=ValueConfig(
            model=MODEL,
            embodiment=EmbodimentConfig(views=views),
            prompt=PromptConfig(tokenizer="tiny", advantage=False),
        ),
        train=TrainConfig(
            num_steps=NUM_ROUNDS * STEPS_PER_ROUND,
            batch_size=BATCH_SIZE,
            optimizer=OptimizerConfig(peak_lr=1e-3, warmup_steps=1, decay_steps=1000),
        ),
        targets=TargetConfig(rule="fixed_limit", limit_frames=60),
        freeze=freeze,
    )


def speed_up_by_operations(model: ValueModelConfig, freeze: FreezeMode) -> float:
    """Operations of a training step that computes the tokens, over those of one that reads them."""
    computed, read = (
        value_flops(model, train=True, freeze=freeze, cached_features=is_cached)
        for is_cached in (False, True)
    )
    return computed / read


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    """Four episodes of 60 frames, two cameras at 112 px."""
    root = tmp_path_factory.mktemp("features") / "dataset"
    robot = SyntheticRobot(cameras=("head_camera", "left_wrist_camera"), image_px=MODEL.image_px)
    write_synthetic_dataset(root, [SyntheticEpisode(length=60)] * 4, robot)
    return read_frames(root)


def side(
    table: FrameTable,
    config: TrainValueConfig,
    images: ImageSource | FrozenFeatures | None,
    params: Params,
) -> tuple[Side, TrainState]:
    """Ready to train on episodes 0 to 2 and to measure on episode 3."""
    model, value = ValueModel(MODEL), config.value
    transform = ValueTransform(
        value, None, PromptTokenizer(value.prompt, MODEL.max_token_len, MODEL.state_input)
    )
    trainable = trainable_value_leaves(MODEL, params, config.freeze)
    batches = ValueBatches(table, transform, config, episodes=np.arange(3), images=images)
    frames = np.arange(180, 240)
    validation = ValueValidation(
        model, table, transform, config, frames=frames, mesh=device_mesh(), images=images
    )
    step = make_train_step(value_loss(model), config.train, trainable=trainable)
    optimizer = make_optimizer(config.train.optimizer)
    return Side(batches, validation, step), initial_state(
        params, optimizer, trainable, with_ema=True
    )


@pytest.mark.benchmark(group="features")
@pytest.mark.parametrize("freeze", ["siglip_only", "all_backbones"])
def bench_frozen_encoder_training(
    benchmark: BenchmarkFixture, table: FrameTable, tmp_path: Path, freeze: FreezeMode
) -> None:
    """Steps per second with images from the frame cache, and with tokens from the feature cache.

    Medians over interleaved rounds; feeding counts, compilation and the one pass of the encoder do
    not. Both sides measure the same held-out episode after every round: the largest difference of
    their losses is given. ``by_operations`` is the ratio that the operations allow, here and at
    full size (bar: 5).
    """
    chosen = config(freeze)
    params = ValueModel(MODEL).init(jax.random.key(0))
    images = image_source(
        table.meta, CAMERAS, image_px=MODEL.image_px, cache=FrameCache(tmp_path / "frames")
    )
    began = time.perf_counter()
    tokens = frozen_features(
        table.meta,
        chosen.value,
        FrozenEncoder(MODEL, params),
        cache=FeatureCache(tmp_path / "features"),
        num_uses=None,
    )
    encode_s = time.perf_counter() - began
    sides, states = {}, {}
    for name, source in (("images", images), ("tokens", tokens)):
        sides[name], states[name] = side(table, chosen, source, params)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, list[float]] = {name: [] for name in sides}

    def one_round(number: int) -> None:
        for name, (batches, validation, step) in sides.items():
            first = number * STEPS_PER_ROUND
            stop = first + STEPS_PER_ROUND + 1  # the first step of a round fills the pipeline
            with Prefetch(batches, start=first, stop=stop) as prefetch:
                for _, batch in prefetch:
                    states[name], metrics = step(states[name], batch)
                    jax.block_until_ready(metrics)
                    if len(rates[name]) <= number:
                        rates[name].append(time.perf_counter())
            rates[name][number] = STEPS_PER_ROUND / (time.perf_counter() - rates[name][number])
            losses[name].append(validation(states[name])["val_loss"])

    numbers = iter(range(NUM_ROUNDS + 1))
    one_round(next(numbers))  # compiles
    benchmark.pedantic(lambda: one_round(next(numbers)), rounds=NUM_ROUNDS)
    by_round = np.array(rates["tokens"][1:]) / np.array(rates["images"][1:])
    difference = np.abs(np.array(losses["tokens"]) - np.array(losses["images"]))
    benchmark.extra_info |= {
        "steps_per_s_images": float(np.median(rates["images"][1:])),
        "steps_per_s_tokens": float(np.median(rates["tokens"][1:])),
        "ratio": float(np.median(by_round)),
        "by_operations": speed_up_by_operations(MODEL, freeze),
        "by_operations_full_size": speed_up_by_operations(VALUE_670M, freeze),
        "val_loss_first": losses["images"][0],
        "val_loss_images": losses["images"][-1],
        "val_loss_tokens": losses["tokens"][-1],
        "val_loss_largest_difference": float(difference.max()),
        "encode_pass_s": encode_s,
    }
