"""A value model's image projection learns from questions about images (SPEC §15)."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recap_core.config.training import TrainRuntime
from recap_core.config.value import ValueConfig
from recap_core.config.vqa import AlignValueConfig
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.registry import ALIGN_VALUE
from recap_core.stages.train_policy import METRICS_FILE, last_metrics
from recap_core.stages.value_questions import (
    VqaSource,
    check_digest,
    describe_questions,
    question_batches,
)

if TYPE_CHECKING:
    from recap_core.models.parameters import Params
    from recap_core.models.value_model import ValueModel
    from recap_core.sharding import Shardings
    from recap_core.training.state import Mask, ParamsSource, TrainState


def align_value_model(  # noqa: PLR0913 - the inputs of the stage; the rest by name
    start: ValueCheckpoint,
    source: VqaSource,
    config: AlignValueConfig,
    *,
    name: str,
    store: Store,
    runtime: TrainRuntime | None = None,
    progress: Progress | None = None,
) -> ValueCheckpoint:
    """Train the image projection of ``start`` to let its language model answer questions.

    With ``config.lora`` the language model's adapters are trained too; everything else keeps its
    bytes. The result knows no more of values than ``start``: it is what value training starts from.
    A killed run continues from its last checkpoint, bit for bit.

    Args:
        start: Value model.
        source: From :func:`describe_questions`; ``config.digest`` must be its digest.
        config: Optimisation.
        name: Of the result.
        store: Where everything is.
        runtime: Devices, memory, intervals of logging and saving.
        progress: Who watches.

    Raises:
        ConfigError: If the value model sees no images, or devices or batch cannot be divided.
        DataError: If the questions are others than ``config`` says.
        IncompatibleError: If ``start`` has other adapters than ``config.lora``, or the tokenizer
            is another one than ``start`` or ``config`` names.
        TrainingError: If the loss is not finite, or after SIGTERM.
    """
    runs = runtime or TrainRuntime()

    def build(area: Build) -> Built:
        from recap_core.checkpoints.value_checkpoint import read_value_model, write_value_model
        from recap_core.models.parameters import count_params
        from recap_core.sharding import gathered
        from recap_core.training.state import evaluation_params

        check_digest(source, config.digest)
        settings = read_value_model(store.path(start)).settings
        value = _with_adapters(settings.config, config, start)
        work = area.work / "training"
        job = _Job(start, source, config, value, runs, store)
        with device_lock(progress):
            state = _trained(job, work, (progress, name))
        average = None if state.ema_params is None else gathered(evaluation_params(state))
        params = gathered(state.params)
        write_value_model(area.output, params, average, settings._replace(config=value))
        shutil.copyfile(work / METRICS_FILE, area.output / METRICS_FILE)
        found = describe_questions(source.file, source.images, store=store)
        check_digest(found, config.digest)
        details = {
            "num_steps": config.train.num_steps,
            "num_params": count_params(params),
            "healthy": False,
            "fresh_leaves": [leaf for leaf in start.fresh_leaves if not is_trained(leaf, config)],
        }
        return Built(details, last_metrics(work / METRICS_FILE))

    return store.produce(ALIGN_VALUE, config, {"start": start}, name=name, build=build)


class _Job(NamedTuple):
    """What a call of the stage is about."""

    start: ValueCheckpoint
    source: VqaSource
    config: AlignValueConfig
    value: ValueConfig
    runtime: TrainRuntime
    store: Store


def _with_adapters(
    value: ValueConfig, config: AlignValueConfig, start: ValueCheckpoint
) -> ValueConfig:
    """The start's model, with the adapters that are to be trained and the tokenizer named."""
    model = value.model
    if not model.views:
        raise ConfigError(
            f"value model {start.name}-{start.id[:8]} sees no images (model.views is empty), so "
            "there is nothing to align. Start from one with views."
        )
    if value.prompt.tokenizer_digest is None:
        named = {"tokenizer_digest": config.tokenizer_digest}
        value = value.model_copy(update={"prompt": value.prompt.model_copy(update=named)})
    if config.lora is None:
        return value
    gemma = model.gemma.model_copy(update={"lora": config.lora})
    return value.model_copy(update={"model": model.model_copy(update={"gemma": gemma})})


def is_trained(leaf: str, config: AlignValueConfig) -> bool:
    """Whether a leaf is trained, by its path."""
    is_adapter = leaf.startswith("llm/") and leaf.endswith(("lora_a", "lora_b"))
    return leaf.startswith("img_projection/") or (config.lora is not None and is_adapter)


def _trained(job: _Job, work: Path, watched: tuple[Progress | None, str]) -> "TrainState":
    from recap_core.models.value_model import ValueModel
    from recap_core.sharding import batch_sharding
    from recap_core.training.compilation_cache import enable_compilation_cache
    from recap_core.training.loop import train, training_mesh
    from recap_core.training.vqa_loss import VqaLoss, one_view

    config, runtime = job.config, job.runtime
    enable_compilation_cache(job.store.home / "cache" / "xla")
    split = batch_sharding(training_mesh(runtime))
    model = ValueModel(one_view(job.value.model), remat=runtime.remat, split=split)
    params, trainable = _first_params(job, model)
    train_config = config.train
    return train(
        VqaLoss(model),
        params,
        question_batches(
            job.source,
            job.value,
            batch_size=train_config.batch_size,
            max_token_len=config.max_token_len,
            seed=train_config.seed,
        ),
        train_config,
        runtime,
        work=work,
        trainable=trainable,
        progress=watched[0],
        label=f"align value {watched[1]}",
    )


def _first_params(job: _Job, model: "ValueModel") -> "tuple[ParamsSource, Mask]":
    """Parameters of the start, with fresh adapters where it has none; and which of them train."""
    import jax

    from recap_core.checkpoints.trees import flatten, unflatten
    from recap_core.checkpoints.value_start import check_value_start, value_start_params
    from recap_core.training.state import ParamsSource

    start, key = job.start, jax.random.key(job.config.train.seed)
    directory, who = job.store.path(start), f"value model {start.name}-{start.id[:8]}"
    shapes = jax.eval_shape(model.init, key)
    fresh = check_value_start(directory, job.value, shapes, fresh=start.fresh_leaves, who=who)

    def make(shardings: "Shardings") -> "Params":
        return value_start_params(
            directory, model.init, key, like=shapes, fresh=fresh, sharding=shardings
        )

    trainable = unflatten({leaf: is_trained(leaf, job.config) for leaf in flatten(shapes)})
    return ParamsSource(shapes, make), trainable
