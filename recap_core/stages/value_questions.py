"""Questions about images outside the store: what alignment and co-training learn from."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recap_core.config.environment import weights_dir
from recap_core.config.stages import TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.config.value import ValueConfig
from recap_core.errors import ConfigError, DataError
from recap_core.lineage.store import Store
from recap_core.progress import Progress

if TYPE_CHECKING:
    from recap_core.training.value_batches import ValueBatches
    from recap_core.training.value_loss import ValueLoss
    from recap_core.training.vqa_batches import VqaBatches
    from recap_core.training.vqa_loss import CotrainedBatches, CotrainedLoss


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


def check_digest(source: VqaSource, digest: str) -> None:
    """Raise DataError unless the questions are those that the settings mean."""
    if source.digest != digest:
        raise DataError(
            f"{source.file} and its images have digest {source.digest}, the settings name "
            f"{digest}: they changed, or others are meant. Start again with the questions as they "
            "are."
        )


def question_batches(
    source: VqaSource, value: ValueConfig, *, batch_size: int, max_token_len: int, seed: int
) -> "VqaBatches":
    """Batches of questions for a value model.

    Raises:
        DataError: If a question is so long that no answer is left of ``max_token_len``.
    """
    from recap_core.data.vqa import VqaData
    from recap_core.models.tokenizer import PromptTokenizer
    from recap_core.training.vqa_batches import VqaBatches

    model = value.model
    tokenizer = PromptTokenizer(
        value.prompt, model.max_token_len, model.state_input, weights_dir=weights_dir()
    )
    batches = VqaBatches(
        VqaData(source.file, source.images),
        tokenizer,
        model,
        batch_size=batch_size,
        max_token_len=max_token_len,
        seed=seed,
    )
    batches.check_lengths()  # not after hours, in the step that draws it
    return batches


def check_questions(config: TrainValueConfig, runtime: TrainRuntime) -> None:
    """Raise ConfigError if a value training cannot be co-trained as it is meant to be."""
    from recap_core.training.loop import training_mesh

    if config.vqa is None:
        return
    if runtime.vqa_file is None or runtime.vqa_images is None:
        raise ConfigError(
            "vqa asks for questions about images, and nothing says where they are. Set vqa_file "
            "and vqa_images of the runtime (recap value train --vqa FILE --vqa-images DIR)."
        )
    if not config.value.model.views:
        raise ConfigError("vqa asks for questions about images, but model.views is empty.")
    mesh = training_mesh(runtime)
    parts = mesh.size * runtime.micro_batches
    if config.vqa.batch_size % parts:
        raise ConfigError(
            f"vqa.batch_size is {config.vqa.batch_size}, which {mesh.size} devices cannot share "
            f"evenly in {runtime.micro_batches} micro-batches. Make it a multiple of {parts}."
        )


def check_unchanged(config: TrainValueConfig, runtime: TrainRuntime, *, store: Store) -> None:
    """Raise DataError if a training's questions changed while it ran: the key would be wrong."""
    if config.vqa is None or runtime.vqa_file is None or runtime.vqa_images is None:
        return
    source = describe_questions(runtime.vqa_file, runtime.vqa_images, store=store)
    check_digest(source, config.vqa.digest)


def with_questions(
    loss: "ValueLoss",
    batches: "ValueBatches",
    config: TrainValueConfig,
    *,
    runtime: TrainRuntime,
    store: Store,
) -> "tuple[ValueLoss | CotrainedLoss, ValueBatches | CotrainedBatches]":
    """A value training's loss and batches, with those of the questions that go beside.

    Args:
        loss: Of the values.
        batches: Frames.
        config: Says which questions, if any, and how much they count.
        runtime: Says where they are.
        store: Whose digest cache is used.

    Raises:
        ConfigError: As :func:`check_questions`.
        DataError: If the questions are others than ``config`` says, or break a rule.
    """
    if config.vqa is None:
        return loss, batches
    from recap_core.models.value_model import ValueModel
    from recap_core.sharding import batch_sharding
    from recap_core.training.loop import training_mesh
    from recap_core.training.vqa_loss import CotrainedBatches, CotrainedLoss, VqaLoss, one_view

    check_questions(config, runtime)
    assert runtime.vqa_file is not None  # noqa: S101 - just checked
    assert runtime.vqa_images is not None  # noqa: S101 - just checked
    source = describe_questions(runtime.vqa_file, runtime.vqa_images, store=store)
    check_digest(source, config.vqa.digest)
    questions = question_batches(
        source,
        config.value,
        batch_size=config.vqa.batch_size,
        max_token_len=config.vqa.max_token_len,
        seed=config.train.seed,
    )
    split = batch_sharding(training_mesh(runtime))
    asked = ValueModel(one_view(config.value.model), remat=runtime.remat, split=split)
    return (
        CotrainedLoss(loss, VqaLoss(asked), weight=config.vqa.weight),
        CotrainedBatches(batches, questions),
    )
