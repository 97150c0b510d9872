"""A value model's image projection learns from questions about images (SPEC §15)."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recap_core.config.environment import weights_dir
from recap_core.config.training import TrainRuntime
from recap_core.config.value import ValueConfig
from recap_core.config.vqa import AlignValueConfig
from recap_core.errors import ConfigError, DataError
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.registry import ALIGN_VALUE
from recap_core.stages.train_policy import METRICS_FILE, last_metrics

if TYPE_CHECKING:
    from recap_core.models.value_model import ValueModel
    from recap_core.training.state import Mask, ParamsSource, TrainState
    from recap_core.training.vqa_batches import VqaBatches


class VqaSource(NamedTuple):
    """Questions outside the store, as they were found."""

    file: Path
    images: Path
    digest: str
    num_questions: int
    """Conversations about one image each."""


def describe_questions(
    file: Path, images: Path, *, store: Store, progress: Progress | None = None
) -> VqaSource:
    """Read every question, look at every image, and say what they are as a whole.

    Args:
        file: JSON lines or a JSON array, see :mod:`recap_core.data.vqa`.
        images: Directory of the images.
        store: Whose digest cache is used.
        progress: Who watches.

    Raises:
        DataError: If the file or a record breaks a rule; names the line.
    """
    from recap_core.data.vqa import VqaData

    file, images = file.expanduser().absolute(), images.expanduser().absolute()
    data = VqaData(file, images)
    return VqaSource(file, images, data.digest(store.digests, progress=progress), len(data))


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
        IncompatibleError: If ``start`` has other adapters than ``config.lora``.
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
        state = _trained(_Job(start, source, config, value, runs, store), work, (progress, name))
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
            "fresh_leaves": [leaf for leaf in start.fresh_leaves if not _is_trained(leaf, config)],
        }
        return Built(details, last_metrics(work / METRICS_FILE))

    return store.produce(ALIGN_VALUE, config, {"start": start}, name=name, build=build)


def check_digest(source: VqaSource, digest: str) -> None:
    """Raise DataError unless the questions are those that the settings mean."""
    if source.digest != digest:
        raise DataError(
            f"{source.file} and its images have digest {source.digest}, the settings name "
            f"{digest}: they changed, or others are meant. Start again with the questions as they "
            "are."
        )


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
    """The start's model, with the adapters that are to be trained."""
    model = value.model
    if not model.views:
        raise ConfigError(
            f"value model {start.name}-{start.id[:8]} sees no images (model.views is empty), so "
            "there is nothing to align. Start from one with views."
        )
    if config.lora is None:
        return value
    gemma = model.gemma.model_copy(update={"lora": config.lora})
    return value.model_copy(update={"model": model.model_copy(update={"gemma": gemma})})


def _is_trained(leaf: str, config: AlignValueConfig) -> bool:
    """Whether a leaf is trained, by its path."""
    is_adapter = leaf.startswith("llm/") and "lora" in leaf.rpartition("/")[2]
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


def question_batches(
    source: VqaSource, value: ValueConfig, *, batch_size: int, max_token_len: int, seed: int
) -> "VqaBatches":
    """Batches of questions for a value model."""
    from recap_core.data.vqa import VqaData
    from recap_core.models.tokenizer import PromptTokenizer
    from recap_core.training.vqa_batches import VqaBatches

    model = value.model
    tokenizer = PromptTokenizer(
        value.prompt, model.max_token_len, model.state_input, weights_dir=weights_dir()
    )
    return VqaBatches(
        VqaData(source.file, source.images),
        tokenizer,
        model,
        batch_size=batch_size,
        max_token_len=max_token_len,
        seed=seed,
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

    def make(shardings: dict) -> dict:
        return value_start_params(
            directory, model.init, key, like=shapes, fresh=fresh, sharding=shardings
        )

    trainable = unflatten({leaf: _is_trained(leaf, job.config) for leaf in flatten(shapes)})
    return ParamsSource(shapes, make), trainable
