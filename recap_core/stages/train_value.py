"""Stage 4: train the value model, and judge it on held-out episodes."""

import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from recap_core.config.environment import weights_dir
from recap_core.config.stages import HealthConfig, TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.config.value import ValueConfig
from recap_core.lineage.artifacts import AnyDataset, NormStats, ValueCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.norm_stats import NORM_STATS_FILE, read_statistics
from recap_core.stages.registry import TRAIN_VALUE
from recap_core.stages.train_policy import METRICS_FILE, last_metrics, training_images

if TYPE_CHECKING:
    from recap_core.data.frames import FrameTable
    from recap_core.data.image_feed import ImageSource
    from recap_core.models.parameters import Params
    from recap_core.training.state import TrainState
    from recap_core.training.value_batches import ValueBatches
    from recap_core.transforms.normalize import NormStats as Statistics
    from recap_core.transforms.value_transform import ValueTransform
    from recap_core.valuation.health import HealthReport

HEALTH_FILE = "health.json"


def train_value_model(  # noqa: PLR0913 - the inputs of the stage; the rest by name
    dataset: AnyDataset,
    norm_stats: NormStats,
    config: TrainValueConfig,
    *,
    name: str,
    store: Store,
    runtime: TrainRuntime | None = None,
    progress: Progress | None = None,
) -> ValueCheckpoint:
    """Train a value model on 8 of 10 episodes and judge it on those left for testing.

    The result says whether it is ``healthy``; an unhealthy one is published all the same, so that
    it can be looked at.

    Raises:
        TrainingError: If the loss is not finite.
        DataError: If the dataset has no frame to train on.
    """

    def build(area: Build) -> Built:
        from recap_core.checkpoints.value_checkpoint import ValueSettings, write_value_model
        from recap_core.data.frames import read_frames
        from recap_core.models.parameters import count_params
        from recap_core.sharding import gathered
        from recap_core.training.compilation_cache import enable_compilation_cache
        from recap_core.training.state import evaluation_params
        from recap_core.training.value_batches import ValueBatches

        enable_compilation_cache(store.home / "cache" / "xla")
        table = read_frames(store.path(dataset))
        statistics = read_statistics(store.path(norm_stats) / NORM_STATS_FILE)
        transform = value_transform(config.value, statistics)
        seen, unseen = _split(table, config.health)
        runs = runtime or TrainRuntime()
        images = _images(table, config, store, runs, progress)
        batches = ValueBatches(table, transform, config, episodes=seen, images=images)
        work = area.work / "training"
        state = _optimize(batches, config, runs, work, (progress, name))
        final = gathered(evaluation_params(state))
        settings = ValueSettings(config.value, config.targets, statistics)
        ema = final if state.ema_params is not None else None
        write_value_model(area.output, gathered(state.params), ema, settings)
        shutil.copyfile(work / METRICS_FILE, area.output / METRICS_FILE)
        health = _assess(table, transform, final, config, episodes=unseen)
        _write_health(area.output / HEALTH_FILE, health)
        details = {
            "num_steps": config.train.num_steps,
            "num_params": count_params(final),
            "healthy": health.healthy,
        }
        return Built(details, last_metrics(work / METRICS_FILE) | health.metrics())

    inputs = {"dataset": dataset, "norm_stats": norm_stats}
    return store.produce(TRAIN_VALUE, config, inputs, name=name, build=build)


def _optimize(
    batches: "ValueBatches",
    config: TrainValueConfig,
    runtime: TrainRuntime,
    work: Path,
    watched: tuple[Progress | None, str],
) -> "TrainState":
    """Train a fresh model; ``watched`` is who watches, and the name they see."""
    import jax

    from recap_core.models.value_model import ValueModel
    from recap_core.sharding import batch_sharding
    from recap_core.training.loop import train, training_mesh
    from recap_core.training.state import all_trainable, fresh_params
    from recap_core.training.value_loss import value_loss

    split = batch_sharding(training_mesh(runtime))
    model = ValueModel(config.value.model, remat=runtime.remat, split=split)
    key = jax.random.key(config.train.seed)
    shapes = jax.eval_shape(model.init, key)
    progress, name = watched
    return train(
        value_loss(model, augment=config.train.augment),
        fresh_params(lambda: model.init(key), all_trainable(shapes)),
        batches,
        config.train,
        runtime,
        work=work,
        progress=progress,
        label=f"train value {name}",
    )


def _split(
    table: "FrameTable", config: HealthConfig
) -> tuple[Int64[np.ndarray, " i"], Int64[np.ndarray, " j"]]:
    """Episodes to train on, and those to judge with."""
    from recap_core.data.batches import split_episodes

    share = config.held_out_share
    split = split_episodes(
        len(table.episode_lengths),
        ratios=(1 - 2 * share, share, share),
        originals=table.originals,
    )
    # Nothing is chosen by the validation episodes, so they too are unseen.
    return split.train, np.concatenate([split.validation, split.test])


def value_transform(value: ValueConfig, statistics: "Statistics | None") -> "ValueTransform":
    """From a dataset's observations to the value model's inputs."""
    from recap_core.models.tokenizer import PromptTokenizer
    from recap_core.transforms.value_transform import ValueTransform

    model = value.model
    tokenizer = PromptTokenizer(
        value.prompt, model.max_token_len, model.state_input, weights_dir=weights_dir()
    )
    return ValueTransform(value, statistics, tokenizer)


def _images(
    table: "FrameTable",
    config: TrainValueConfig,
    store: Store,
    runtime: TrainRuntime,
    progress: Progress | None,
) -> "ImageSource | None":
    model, views = config.value.model, config.value.embodiment.views
    if not model.views:
        return None
    return training_images(
        table,
        [views[view] for view in model.views if view in views],
        config.train,
        image_px=model.image_px,
        store=store,
        runtime=runtime,
        progress=progress,
    )


def _assess(
    table: "FrameTable",
    transform: "ValueTransform",
    params: "Params",
    config: TrainValueConfig,
    *,
    episodes: Int64[np.ndarray, " e"],
) -> "HealthReport":
    from recap_core.training.value_batches import value_targets
    from recap_core.valuation.health import assess_health, predict_held_out
    from recap_core.valuation.prediction import ValuePredictor

    predictor = ValuePredictor(config.value, params, transform)
    targets = value_targets(table, config.targets).targets
    return assess_health(
        predict_held_out(table, predictor, targets, episodes.tolist()), config.health
    )


def _write_health(path: Path, health: "HealthReport") -> None:
    """JSON with null where a number is undefined."""
    content = {
        key: [finite(x) for x in value] if isinstance(value, tuple | list) else finite(value)
        for key, value in asdict(health).items()
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


def finite(value: object) -> object:
    """``value``, but None for a float that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
