"""``recap value train``: stage 4 without a server.

Whatever takes time to import is imported inside the command, so that help is instant.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption, NameOption
from deployments.cli.training_commands import (
    DatasetArgument,
    RuntimeOption,
    SettingOption,
    Size,
)

if TYPE_CHECKING:
    from recap_core.config.stages import TrainValueConfig
    from recap_core.lineage.artifacts import AnyDataset, NormStats, ValueCheckpoint
    from recap_core.lineage.store import Store

ValueStartOption = Annotated[
    str | None,
    typer.Option(
        "--start",
        help="Value model to start from; by default pretrained/value/base where a part is frozen, "
        "else fresh parameters.",
    ),
]
ValueSizeOption = Annotated[
    Size | None,
    typer.Option(
        "--preset", help="Size of the model, and how it trains; by default the start's own model."
    ),
]
FileOption = Annotated[
    str | None,
    typer.Option("--config", "-c", help="Settings in YAML, laid over the preset or the start."),
]


StatsOption = Annotated[
    str | None,
    typer.Option(help="Norm stats artifact; by default the start's own, else computed."),
]
VqaOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Questions about images, to be co-trained with."),
]
VqaImagesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Directory of the images of --vqa.")
]
RefOption = Annotated[
    str | None, typer.Option(help="Point <project>/<robot>/<ref> to the new value model.")
]


def train(  # noqa: PLR0913 - one parameter per option
    dataset: DatasetArgument,
    *,
    start: ValueStartOption = None,
    config: FileOption = None,
    preset: ValueSizeOption = None,
    settings: SettingOption = None,
    runtime: RuntimeOption = None,
    stats: StatsOption = None,
    vqa: VqaOption = None,
    vqa_images: VqaImagesOption = None,
    ref: RefOption = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Train a value model (stage 4), and judge it on episodes that it has not seen.

    A killed run goes on where it was.
    """
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store, tell
    from deployments.cli.configuration import load_settings
    from deployments.cli.resolution import with_tokenizer_digest
    from deployments.cli.value_settings import (
        named_value_start,
        needed_value_start,
        value_settings,
    )
    from recap_core.config.training import TrainRuntime
    from recap_core.lineage.artifacts import AnyDataset
    from recap_core.lineage.refs import check_ref
    from recap_core.progress import Terminal
    from recap_core.stages.train_value import train_value_model

    if ref is not None:
        check_ref(ref)
    store = open_store()
    asked = _questions(vqa, vqa_images, store)
    settings, runtime = [*asked[0], *(settings or [])], [*asked[1], *(runtime or [])]
    size = None if preset is None else preset.value
    data = artifact_of_kind(store, dataset, AnyDataset, wanted="a dataset")
    begin = named_value_start(start, store=store)
    chosen = value_settings(config, size, settings, store=store, start=begin)
    begin = begin or needed_value_start(chosen, store=store)
    norm_stats = _norm_stats(store, data, begin, chosen, named=stats)
    value_model = train_value_model(
        data,
        norm_stats,
        with_tokenizer_digest(chosen),
        start=begin,
        name=name or "value",
        store=store,
        runtime=load_settings(TrainRuntime(), file=None, overrides=runtime),
        progress=Terminal(),
    )
    if ref is not None:
        store.set_ref(ref, value_model)
    tell(value_model, store, json=json, lines=_verdict(value_model, store))


def _questions(
    file: Path | None, images: Path | None, store: "Store"
) -> tuple[list[str], list[str]]:
    """Settings and runtime settings of questions to be co-trained with; empty without any."""
    from deployments.cli.value_align import questions
    from recap_core.errors import ConfigError

    if file is None and images is None:
        return [], []
    if file is None or images is None:
        raise ConfigError("--vqa and --vqa-images go together: give both, or neither.")
    return questions(file, images, store)


def _norm_stats(
    store: "Store",
    dataset: "AnyDataset",
    start: "ValueCheckpoint | None",
    config: "TrainValueConfig",
    *,
    named: str | None,
) -> "NormStats":
    """Those that are named; else the start's, if the state is read; else the dataset's."""
    from deployments.cli.artifact_arguments import artifact_of_kind
    from deployments.cli.value_settings import own_norm_stats
    from recap_core.config.dataset import NormStatsConfig
    from recap_core.lineage.artifacts import NormStats
    from recap_core.stages.norm_stats import compute_norm_stats

    if named is not None:
        return artifact_of_kind(store, named, NormStats, wanted="norm stats")
    if start is not None and config.value.model.reads_state:
        own = own_norm_stats(start, store=store)
        if own is not None:
            return own
    settings = NormStatsConfig(embodiment=config.value.embodiment)
    return compute_norm_stats(dataset, settings, name=dataset.name, store=store)


def _verdict(value_model: "ValueCheckpoint", store: "Store") -> list[str]:
    """What came out, for people: steps, losses, overfitting, health and its reasons."""
    import json as json_format

    from recap_core.stages.train_value import HEALTH_FILE, overfitting

    metrics = store.manifest(value_model).metrics
    steps = f"{value_model.num_steps:,} steps, {value_model.num_params:,} parameters"
    losses = [
        f"{text} {metrics[name]:.4g}"
        for name, text in (
            ("loss", "loss"),
            ("val_loss", "validation loss"),
            ("held_out_cross_entropy", "held-out loss"),
        )
        if metrics.get(name) is not None
    ]
    lines = [", ".join([steps, *losses])]
    if value_model.stopped_step is not None:
        lines.append(f"stopped early, after step {value_model.stopped_step:,}")
    if (text := overfitting(value_model.best_step, metrics)) is not None:
        lines.append(text)
    health = json_format.loads((store.path(value_model) / HEALTH_FILE).read_text(encoding="utf-8"))
    lines.append("healthy" if health["healthy"] else "NOT healthy")
    return lines + [f"  {reason}" for reason in health["reasons"]]
