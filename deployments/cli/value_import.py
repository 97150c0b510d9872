"""``recap value import``: published weights become a value model.

Whatever takes time to import is imported inside the command, so that help is instant.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption, NameOption, Preset

if TYPE_CHECKING:
    from recap_core.config.value import ValueConfig


class Take(StrEnum):
    """What is taken of a value model."""

    all = "all"
    backbones = "backbones"


class Layout(StrEnum):
    """Whose files."""

    value_model = "value_model"
    big_vision = "big_vision"
    deepmind_gemma = "deepmind_gemma"
    transformers_siglip = "transformers_siglip"
    transformers_gemma = "transformers_gemma"


PathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PATHS",
        help="Bundle, step, directory or file of weights; several fill the model together. "
        "Default: the bundle in OPENPI_VLM_CKPT_DIR.",
    ),
]
SizeOption = Annotated[
    Preset,
    typer.Option(help="Value model that the weights become: paper and single_gpu are full size."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A ValueConfig in YAML, laid over the preset's."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="One setting of it, for instance model.image_px=384; may be repeated.",
    ),
]


TakeOption = Annotated[
    Take, typer.Option(help="Of a value model or bundle: every part, or SigLIP and Gemma alone.")
]
LayoutOption = Annotated[
    Layout | None, typer.Option(help="Whose files PATH holds. Default: as they look.")
]
EmaOption = Annotated[
    bool, typer.Option("--use-ema", help="Of a value model: the averaged parameters.")
]
MatchOption = Annotated[
    float, typer.Option(min=0.01, max=1, help="Share of the leaves of their parts to find.")
]
RefOption = Annotated[
    str | None, typer.Option(help="Point this reference to it: pretrained/value/base.")
]


def import_value(  # noqa: PLR0913 - one parameter per option
    paths: PathsArgument = None,
    *,
    take: TakeOption = Take.all,
    layout: LayoutOption = None,
    use_ema: EmaOption = False,
    preset: SizeOption = Preset.paper,
    config: ConfigOption = None,
    settings: SetOption = None,
    min_match: MatchOption = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of leaves that no PATH holds.")] = 0,
    name: NameOption = None,
    ref: RefOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare names and shapes, and import nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Published weights become a value model: to train from, or, if whole, to infer values with.

    SigLIP comes from big_vision (.npz) or transformers, Gemma 3 from DeepMind or transformers,
    and both, or everything, from the reference's bundle or a step of its training. What no PATH
    holds is drawn fresh. --config and --set change the value model's sizes, cameras and prompt.
    """
    from deployments.cli.artifact_arguments import open_store, tell
    from deployments.cli.import_command import default_name
    from recap_core.lineage.refs import check_ref
    from recap_core.progress import Terminal
    from recap_core.stages.import_value import describe_value, read_match
    from recap_core.stages.import_value import import_value as import_stage

    if ref is not None:
        check_ref(ref)
    store = open_store()
    found = paths or [_bundle()]
    source = describe_value(
        found,
        _value_config(preset, config, settings or []),
        take=take.value,
        layout=None if layout is None else layout.value,
        ema=use_ema,
        min_match=min_match,
        seed=seed,
        store=store,
    )
    if dry_run:
        told = source.report.model_dump_json(indent=2) if json else "\n".join(source.report.lines())
        sys.stdout.write(told + "\n")
        return
    result = import_stage(
        source, name=name or default_name(found[0]), store=store, progress=Terminal()
    )
    if ref is not None:
        store.set_ref(ref, result)
    report = read_match(store.path(result))
    lines = [*report.lines(), f"{result.num_params:,} parameters"]
    tell(result, store, json=json, lines=lines, facts={"match": report.model_dump()})


def _bundle() -> Path:
    from recap_core.checkpoints.value_places import WHERE
    from recap_core.config.environment import vlm_bundle_dir
    from recap_core.errors import ConfigError

    bundle = vlm_bundle_dir()
    if bundle is None:
        raise ConfigError(f"name the weights, or set OPENPI_VLM_CKPT_DIR. {WHERE}.")
    return bundle


def _value_config(preset: Preset, file: Path | None, overrides: list[str]) -> "ValueConfig":
    from deployments.cli.configuration import load_settings
    from recap_core.config.presets import value_config

    size = "tiny" if preset is Preset.plumbing else preset.value
    return load_settings(value_config(size), file=file, overrides=overrides)
