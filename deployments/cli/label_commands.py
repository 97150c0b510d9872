"""``recap label apply``: stored values become labels, and a dataset that carries them."""

import json as json_format
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.options import JsonOption, NameOption

if TYPE_CHECKING:
    from recap_core.config.labels import LabelConfig
    from recap_core.lineage.artifacts import Labels
    from recap_core.lineage.store import Store

PresetOption = Annotated[
    str, typer.Option("--preset", help="Rule by name; recap label presets lists them.")
]
RuleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="One setting of the rule, for instance positive_share=0.3; may be repeated.",
    ),
]


def apply(  # noqa: PLR0913 - one parameter per option
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATASET-or-VALUES",
            help="Id, name-id8 or project/robot/ref; a dataset's newest values are taken.",
        ),
    ],
    *,
    preset: PresetOption = "paper_finetune",
    settings: RuleOption = None,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="Also write the labels into a copy of the dataset.")
    ] = False,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Label every frame by the advantage of its stored value; takes milliseconds."""
    from deployments.cli.artifact_arguments import open_store, tell
    from recap_core.stages.copy_dataset import copy_dataset
    from recap_core.stages.label import label_dataset
    from recap_core.stages.label_origin import read_rule
    from recap_core.stages.label_references import targets_of_values, valued
    from recap_core.stages.relabel import relabel_dataset

    config = label_config(preset, settings or [])
    store = open_store()
    dataset, values = valued(store, store.get(source), all_frames=config.pool == "all")
    stem = name or f"{dataset.name}-labels"
    labels = label_dataset(dataset, values, config, name=stem, store=store)
    rule = read_rule(store.path(labels)) or {}
    taught = targets_of_values(store, values)
    lines = _summary(labels, rule, config)
    if taught is not None and taught != config.targets:
        lines.append(
            f"note: the value model learned targets {taught.rule!r}, and these labels count "
            f"rewards by {config.targets.rule!r}"
        )
    facts: dict[str, Any] = {**rule, "value_model_targets": taught and taught.model_dump()}
    if not relabel:
        tell(labels, store, json=json, lines=lines, facts=facts)
        return
    copied = copy_dataset(dataset, name=f"{stem}-copy", store=store)
    written = relabel_dataset(copied, labels, name=f"{stem}-relabeled", store=store)
    _note(labels, store, lines, json=json)
    facts = {"labels": labels.model_dump(mode="json"), **facts}
    tell(written, store, json=json, lines=[f"labels {labels.name}-{labels.id[:8]}"], facts=facts)


def presets(*, json: JsonOption = False) -> None:
    """The label rules that have names."""
    from recap_core.config.labels import LABEL_PRESETS
    from recap_core.stages.label_words import rule_in_words

    if json:
        rules = {name: rule.model_dump(mode="json") for name, rule in LABEL_PRESETS.items()}
        sys.stdout.write(json_format.dumps(rules, indent=2) + "\n")
        return
    for name, rule in LABEL_PRESETS.items():
        sys.stdout.write(f"{name}\n  {rule_in_words(rule)}\n")


def label_config(preset: str, overrides: list[str]) -> "LabelConfig":
    """The rule of that name, with single settings changed.

    Raises:
        ConfigError: If there is no such preset or setting, or a value is not allowed.
    """
    from deployments.cli.configuration import load_settings
    from recap_core.config.labels import label_preset
    from recap_core.errors import ConfigError

    try:
        rule = label_preset(preset)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return load_settings(rule, file=None, overrides=overrides)


def _note(labels: "Labels", store: "Store", lines: list[str], *, json: bool) -> None:
    from deployments.cli.artifact_arguments import tell

    if not json:
        tell(labels, store, json=False, lines=lines)


def _summary(labels: "Labels", rule: dict[str, Any], config: "LabelConfig") -> list[str]:
    """What the labels came to, group by group."""
    from recap_core.stages.label_words import rule_in_words

    lines = [
        rule_in_words(config),
        (
            f"{labels.num_frames:,} frames: {labels.num_positive:,} positive, "
            f"{labels.num_negative:,} negative, {labels.num_none:,} none; "
            f"{labels.autonomous_positive_share:.1%} of the pool's autonomous frames are positive"
        ),
    ]
    for group in rule.get("groups", []):
        if group["threshold"] is None:
            lines.append(f"{group['name']}: no frames set a threshold")
            continue
        lines.append(
            f"{group['name']}: threshold {group['threshold']:+.4f}, "
            f"{group['num_positive']:,} of {group['pool_size']:,} positive"
        )
    return lines
