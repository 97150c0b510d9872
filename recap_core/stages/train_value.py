"""Stage 4: train the value model, and judge it on held-out episodes."""

import json
import logging
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int64

from recap_core.config.environment import weights_dir
from recap_core.config.stages import TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.config.value import ValueConfig
from recap_core.errors import ArtifactNotFoundError, ConfigError, DataError
from recap_core.lineage.artifacts import AnyDataset, NormStats, ValueCheckpoint
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.norm_stats import NORM_STATS_FILE, read_statistics
from recap_core.stages.registry import TRAIN_VALUE
from recap_core.stages.train_policy import METRICS_FILE, training_images
from recap_core.stages.value_features import training_features
from recap_core.stages.value_questions import check_questions, check_unchanged, with_questions

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from recap_core.data.frames import FrameTable
    from recap_core.data.image_feed import ImageSource
    from recap_core.features.frozen import FrozenFeatures
    from recap_core.models.parameters import Params
    from recap_core.models.value_model import ValueModel
    from recap_core.sharding import Shardings
    from recap_core.training.early_stopping import EarlyStopping
    from recap_core.training.state import Mask, ParamsSource, TrainState
    from recap_core.transforms.normalize import NormStats as Statistics
    from recap_core.transforms.value_transform import ValueTransform
    from recap_core.valuation.health import HealthReport

_log = logging.getLogger(__name__)

HEALTH_FILE = "health.json"


def train_value_model(  # noqa: PLR0913 - the inputs of the stage; the rest by name
    dataset: AnyDataset,
    norm_stats: NormStats,
    config: TrainValueConfig,
    *,
    start: ValueCheckpoint | None = None,
    name: str,
    store: Store,
    runtime: TrainRuntime | None = None,
    progress: Progress | None = None,
) -> ValueCheckpoint:
    """Train a value model on 8 of 10 episodes and judge it on those left for testing.

    Where ``config.validation`` chooses the parameters on the validation episodes, they are judged
    on the test episodes alone; else nothing is chosen by the validation episodes, and both count.
    Episodes that ``start`` was trained on never count.
    The result says whether it is ``healthy``; an unhealthy one is published all the same, so that
    it can be looked at. A killed run continues from its last checkpoint, bit for bit.

    Args:
        dataset: What is learned from.
        norm_stats: Of the state, which the model may read.
        config: Model, targets and optimisation.
        start: Value model whose parameters training starts from; None: fresh ones.
        name: Of the result.
        store: Where everything is.
        runtime: Devices, memory, intervals of logging and saving.
        progress: Who watches.

    Raises:
        CheckpointError: If ``start`` is another model than ``config.value``; names the first leaf.
        ConfigError: If leaves are frozen and there is no start; if devices or batch cannot be
            divided as ``runtime`` asks.
        DataError: If the dataset has no episode or no frame to train on.
        IncompatibleError: If the start's weights would mean something else in this model.
        TrainingError: If the loss is not finite, or after SIGTERM.
    """
    job = _Job(dataset, norm_stats, start, config, runtime or TrainRuntime(), store)

    def build(area: Build) -> Built:
        with device_lock(progress):
            return _build(job, area, (progress, f"train value {name}"))

    inputs = {"dataset": dataset, "norm_stats": norm_stats, "start": start}
    return store.produce(TRAIN_VALUE, config, inputs, name=name, build=build)


def _build(job: "_Job", area: Build, watched: "tuple[Progress | None, str]") -> Built:
    """Train, judge and describe."""
    from recap_core.checkpoints.value_checkpoint import ValueSettings, write_value_model
    from recap_core.data.frames import read_frames
    from recap_core.models.parameters import count_params

    config, store = job.config, job.store
    table = read_frames(store.path(job.dataset))
    statistics = read_statistics(store.path(job.norm_stats) / NORM_STATS_FILE)
    split = _split(job, table)
    data = _Data(table, value_transform(config.value, statistics), split)
    work = area.work / "training"
    trained = _trained(job, data, work, watched)
    settings = ValueSettings(config.value, config.targets, statistics)
    write_value_model(area.output, trained.params, trained.ema_params, settings)
    shutil.copyfile(work / METRICS_FILE, area.output / METRICS_FILE)
    final = trained.params if trained.ema_params is None else trained.ema_params
    health = _assess(table, data.transform, final, config, split)
    _write_health(area.output / HEALTH_FILE, health)
    details = {
        "num_steps": trained.num_steps,
        "num_params": count_params(final),
        "healthy": health.healthy,
        "best_step": trained.best_step,
        "stopped_step": trained.stopped_step,
    }
    metrics = _metrics_at(work / METRICS_FILE, trained.num_steps) | trained.metrics
    if (warning := overfitting(trained.best_step, metrics)) is not None:
        _log.warning("%s", warning)
    return Built(details, metrics | health.metrics())


class _Job(NamedTuple):
    """What a call of the stage is about."""

    dataset: AnyDataset
    norm_stats: NormStats
    start: ValueCheckpoint | None
    config: TrainValueConfig
    runtime: TrainRuntime
    store: Store


class _Split(NamedTuple):
    """Episodes by what they are for."""

    train: Int64[np.ndarray, " i"]
    validation: Int64[np.ndarray, " j"]
    """Choose the parameters; empty where nothing does."""
    unseen: Int64[np.ndarray, " k"]
    """Judge the result."""
    all_known: bool = False
    """Whether the start was trained on all that are to judge."""


class _Data(NamedTuple):
    """What a training reads."""

    table: "FrameTable"
    transform: "ValueTransform"
    split: _Split


class _Trained(NamedTuple):
    """Parameters on the host, and how they came about."""

    params: "Params"
    ema_params: "Params | None"
    num_steps: int
    """Steps behind them."""
    best_step: int | None
    stopped_step: int | None
    metrics: dict[str, float]


def _trained(job: _Job, data: _Data, work: Path, watched: tuple[Progress | None, str]) -> _Trained:
    """Train, and take the best parameters where validation says which these are.

    Args:
        job: What to train.
        data: On what.
        work: Directory of resumable work.
        watched: Who watches, and the name they see.
    """
    from recap_core.features.frozen import FrozenFeatures
    from recap_core.models.value_model import ValueModel
    from recap_core.sharding import batch_sharding
    from recap_core.training.compilation_cache import enable_compilation_cache
    from recap_core.training.flops import value_flops
    from recap_core.training.loop import train, training_mesh
    from recap_core.training.value_batches import ValueBatches
    from recap_core.training.value_loss import value_loss

    config, runtime = job.config, job.runtime
    check_questions(config, runtime)
    enable_compilation_cache(job.store.home / "cache" / "xla")
    mesh = training_mesh(runtime)
    model = ValueModel(config.value.model, remat=runtime.remat, split=batch_sharding(mesh))
    params, trainable = _first_params(job, model)
    images = _images(data.table, job, params, watched[0])
    validation = _validation(job, data, model, (mesh, trainable, images))
    loss, batches = with_questions(
        value_loss(model, augment=config.train.augment),
        ValueBatches(data.table, data.transform, config, episodes=data.split.train, images=images),
        config,
        runtime=runtime,
        store=job.store,
    )
    state = train(
        loss,
        params,
        batches,
        config.train,
        runtime,
        work=work,
        trainable=trainable,
        flops_per_sample=value_flops(
            config.value.model,
            train=True,
            freeze=config.freeze,
            cached_features=isinstance(images, FrozenFeatures),
        ),
        validation=validation,
        progress=watched[0],
        label=watched[1],
    )
    check_unchanged(config, runtime, store=job.store)
    return _published(state, validation, config)


def _published(
    state: "TrainState", validation: "EarlyStopping | None", config: TrainValueConfig
) -> _Trained:
    """The best parameters, or the last ones where nothing was measured; on the host."""
    from recap_core.sharding import gathered
    from recap_core.training.state import evaluation_params

    done = int(state.step)
    if validation is None or validation.best is None:
        average = None if state.ema_params is None else gathered(evaluation_params(state))
        return _Trained(gathered(state.params), average, done, None, None, {})
    params, average = validation.best_params(state)
    return _Trained(
        gathered(params),
        None if average is None else gathered(average),
        num_steps=validation.best.step,
        best_step=validation.best.step,
        stopped_step=done if done < config.train.num_steps else None,
        metrics={"last_val_loss": validation.history[-1].loss},
    )


def _first_params(job: _Job, model: "ValueModel") -> "tuple[ParamsSource, Mask]":
    """Parameters of the start, or fresh ones; and which of them train.

    Frozen leaves stay float32: what is published holds the start's bytes, and whatever was
    computed with the start's encoders stays valid.
    """
    import jax

    from recap_core.checkpoints.value_start import check_value_start, value_start_params
    from recap_core.training.state import ParamsSource, fresh_params, frozen_paths
    from recap_core.training.value_freezing import trainable_value_leaves

    config, start = job.config, job.start
    key = jax.random.key(config.train.seed)
    shapes = jax.eval_shape(model.init, key)
    trainable = trainable_value_leaves(config.value.model, shapes, config.freeze)
    if start is None:
        if frozen := frozen_paths(trainable):
            raise ConfigError(
                f"freeze is {config.freeze!r} and there is no start: {len(frozen)} frozen leaves "
                f"({frozen[0]}, ...) would stay random. Start from pretrained weights (--start, "
                "iteration.value_start), or set freeze=none and train without LoRA"
            )
        return fresh_params(lambda: model.init(key), trainable), trainable
    directory, who = job.store.path(start), f"starting value model {start.name}-{start.id[:8]}"
    unfilled = start.fresh_leaves
    if random := [leaf for leaf in frozen_paths(trainable) if leaf in unfilled]:
        raise ConfigError(
            f"{who} has no weights of its own in {len(random)} leaves that would be frozen "
            f"({random[0]}, ...): they would stay random. Import them too, or train them with "
            "another freeze mode"
        )
    fresh = check_value_start(directory, config.value, shapes, fresh=unfilled, who=who)

    def make(shardings: "Shardings") -> "Params":
        return value_start_params(
            directory, model.init, key, like=shapes, fresh=fresh, sharding=shardings
        )

    return ParamsSource(shapes, make), trainable


def _validation(
    job: _Job,
    data: _Data,
    model: "ValueModel",
    training: "tuple[Mesh, Mask, ImageSource | FrozenFeatures | None]",
) -> "EarlyStopping | None":
    """What measures the training; None where it is not measured."""
    from recap_core.training.early_stopping import EarlyStopping
    from recap_core.training.value_validation import ValueValidation, validation_frames

    config, (mesh, trainable, images) = job.config, training
    if config.validation is None or not len(data.split.validation):
        return None
    measure = ValueValidation(
        model,
        data.table,
        data.transform,
        config,
        frames=validation_frames(
            data.table, config, data.split.validation, max_frames=config.validation.max_frames
        ),
        mesh=mesh,
        images=images,
        batch_size=config.train.batch_size // job.runtime.micro_batches,
    )
    return EarlyStopping(
        measure, config.validation, trainable=trainable, num_steps=config.train.num_steps
    )


def _split(job: "_Job", table: "FrameTable") -> _Split:
    """Episodes to train on, to choose the parameters by, and to judge with.

    Nothing is judged by what the start was trained on: a dataset that grew is split anew.
    """
    split = _split_by_shares(table, job.config)
    if not len(split.train):
        share = job.config.health.held_out_share
        raise DataError(
            f"dataset {job.dataset.name}-{job.dataset.id[:8]} has {len(np.unique(table.originals))}"
            f" episode(s), copies aside; with a share of {share:g} each held out for validation "
            "and test, none is left to train a value model on. Record at least "
            f"{math.ceil(1 / (1 - 2 * share) - 1e-9)}, of both outcomes"
        )
    if job.start is None:
        return split
    from recap_core.stages.value_roles import episode_roles

    try:
        roles = np.array(episode_roles(job.store, job.start, job.dataset, table))
    except ArtifactNotFoundError as error:
        _log.warning("held-out episodes may be known to the start: what it learned from is gone "
                     "(%s)", error)  # fmt: skip
        return split
    unseen = split.unseen[roles[split.unseen] != "train"]
    if (num_known := len(split.unseen) - len(unseen)) > 0:
        _log.warning(
            "the start was trained on %d of the %d episodes held out here: they do not judge",
            num_known, len(split.unseen),
        )  # fmt: skip
    return split._replace(unseen=unseen) if len(unseen) else split._replace(all_known=True)


def _split_by_shares(table: "FrameTable", config: TrainValueConfig) -> _Split:
    from recap_core.data.batches import split_episodes
    from recap_core.training.value_validation import validation_frames

    share = config.health.held_out_share
    train, validation, test = split_episodes(
        len(table.episode_lengths),
        ratios=(1 - 2 * share, share, share),
        originals=table.originals,
    )
    if config.validation is not None:
        if len(validation_frames(table, config, validation)):
            return _Split(train, validation, test)
        _log.warning(
            "none of the %d episodes is left to validate on (a share of %g each to validation and "
            "test): the last parameters are published, and training cannot stop early. Record "
            "more episodes, raise health.held_out_share, or set validation=null",
            len(table.episode_lengths), share,
        )  # fmt: skip
    # Nothing is chosen by the validation episodes, so they too are unseen.
    return _Split(train, validation[:0], np.concatenate([validation, test]))


def overfitting(best_step: int | None, metrics: Mapping[str, float | None]) -> str | None:
    """What validation says of overfitting, for people; None if nothing.

    Args:
        best_step: Of a result of this stage.
        metrics: Of its manifest.
    """
    best, last = metrics.get("val_loss"), metrics.get("last_val_loss")
    if best_step is None or best is None or last is None or last <= best:
        return None
    return (
        f"overfitting: the validation loss rose from {best:.4g} at step {best_step:,} to "
        f"{last:.4g} at the end; the parameters of step {best_step:,} are kept"
    )


def _metrics_at(path: Path, step: int) -> dict[str, float]:
    """The metrics of a training run after ``step`` steps."""
    from recap_core.progress import read_metrics

    rows = [row for row in read_metrics(path) if row["step"] == step]
    return {key: value for key, value in rows[-1].items() if key != "step"} if rows else {}


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
    table: "FrameTable", job: _Job, params: "ParamsSource", progress: Progress | None
) -> "ImageSource | FrozenFeatures | None":
    """Camera images, or their frozen encoder's tokens; None for a model without views."""
    config = job.config
    model, views = config.value.model, config.value.embodiment.views
    if not model.views:
        return None
    tokens = training_features(
        table, config, params, store=job.store, runtime=job.runtime, progress=progress
    )
    if tokens is not None:
        return tokens
    return training_images(
        table,
        [views[view] for view in model.views if view in views],
        config.train,
        image_px=model.image_px,
        store=job.store,
        runtime=job.runtime,
        progress=progress,
    )


def _assess(
    table: "FrameTable",
    transform: "ValueTransform",
    params: "Params",
    config: TrainValueConfig,
    split: _Split,
) -> "HealthReport":
    from recap_core.training.value_batches import value_targets
    from recap_core.valuation.health import assess_health, predict_held_out
    from recap_core.valuation.prediction import ValuePredictor

    predictor = ValuePredictor(config.value, params, transform)
    targets = value_targets(table, config.targets).targets
    held_out = predict_held_out(table, predictor, targets, split.unseen.tolist())
    health = assess_health(held_out, config.health)
    if not split.all_known:
        return health
    reason = (
        f"the start was trained on all {len(split.unseen)} held-out episodes: record more, or "
        "start from a model that has not seen them"
    )
    return replace(health, healthy=False, reasons=(*health.reasons, reason))


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
