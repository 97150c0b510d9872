"""``recap value align``: the image projection of a value model learns from questions about images.

Whatever takes time to import is imported inside the command, so that help is instant.
"""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption, NameOption
from deployments.cli.training_commands import RuntimeOption, SettingOption

if TYPE_CHECKING:
    from recap_core.config.vqa import AlignValueConfig
    from recap_core.lineage.store import Store


DataOption = Annotated[
    Path, typer.Option("--data", metavar="FILE", help="Questions: JSON lines, or an array.")
]
ImagesOption = Annotated[
    Path, typer.Option("--images", metavar="DIR", help="Directory of their images.")
]
LoraOption = Annotated[
    int | None,
    typer.Option(min=1, help="Also train adapters of this rank in the language model."),
]


def questions(file: Path, images: Path, store: "Store") -> tuple[list[str], list[str]]:
    """Settings, and runtime settings, of a value training that is co-trained with questions."""
    from recap_core.progress import Terminal
    from recap_core.stages.value_questions import describe_questions

    source = describe_questions(file, images, store=store, progress=Terminal())
    # Quoted, because a digest or a name may look like a number.
    places = {"vqa_file": source.file, "vqa_images": source.images}
    return (
        [f"vqa.digest={dumps(source.digest)}"],
        [f"{key}={dumps(str(path))}" for key, path in places.items()],
    )


def align(  # noqa: PLR0913 - one parameter per option
    start: Annotated[str, typer.Argument(help="Value model: id, name-id8, or ref.")],
    *,
    data: DataOption,
    images: ImagesOption,
    lora: LoraOption = None,
    epochs: Annotated[
        float, typer.Option(min=0.001, help="Times that every question is asked.")
    ] = 2.0,
    settings: SettingOption = None,
    runtime: RuntimeOption = None,
    ref: Annotated[
        str | None, typer.Option(help="Point <project>/<robot>/<ref> to the aligned value model.")
    ] = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Train the image projection on questions about images, before values are learned.

    FILE holds LLaVA's conversations, or objects with image, question and answer. Only the
    projection changes, and adapters if asked for. A killed run goes on where it was.
    """
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store, tell
    from deployments.cli.configuration import load_settings
    from recap_core.config.policy import LoraConfig
    from recap_core.config.training import TrainRuntime
    from recap_core.config.vqa import AlignValueConfig
    from recap_core.lineage.artifacts import ValueCheckpoint
    from recap_core.lineage.refs import check_ref
    from recap_core.progress import Terminal
    from recap_core.stages.align_value import align_value_model
    from recap_core.stages.value_questions import describe_questions

    if ref is not None:
        check_ref(ref)
    store = open_store()
    begin = artifact_of_kind(store, start, ValueCheckpoint, wanted="a value model")
    source = describe_questions(data, images, store=store, progress=Terminal())
    defaults = AlignValueConfig(
        digest=source.digest,
        tokenizer_digest=_tokenizer_digest(store.path(begin)),
        lora=None if lora is None else LoraConfig(rank=lora, alpha=2 * lora),
    )
    config = _config(defaults, settings or [], num_answers=epochs * source.num_questions)
    aligned = align_value_model(
        begin,
        source,
        config,
        name=name or "aligned",
        store=store,
        runtime=load_settings(TrainRuntime(), file=None, overrides=runtime or []),
        progress=Terminal(),
    )
    if ref is not None:
        store.set_ref(ref, aligned)
    lines = [f"from {source.num_questions} questions, {aligned.num_steps} steps"]
    tell(aligned, store, json=json, lines=lines)


def _config(
    defaults: "AlignValueConfig", overrides: list[str], *, num_answers: float
) -> "AlignValueConfig":
    """As many steps as answer so many questions, or as a person says; the rate falls to the end."""
    from deployments.cli.configuration import load_settings

    train = load_settings(defaults, file=None, overrides=overrides).train
    num_steps = train.num_steps
    if num_steps == defaults.train.num_steps:
        num_steps = max(round(num_answers / train.batch_size), 1)
    return load_settings(defaults.of_length(num_steps), file=None, overrides=overrides)


def _tokenizer_digest(value_model: Path) -> str | None:
    """Of the tokenizer that a value model reads; None if it names one itself."""
    from deployments.cli.resolution import unnamed_tokenizer_digest
    from recap_core.checkpoints.value_checkpoint import read_value_model

    return unnamed_tokenizer_digest(read_value_model(value_model).settings.config.prompt)
