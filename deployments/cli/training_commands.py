"""``recap sft`` and ``recap finetune``: stages 2, 3 and 6, one at a time and without a server.

Whatever takes time to import is imported inside the commands, so that help is instant.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption, NameOption

if TYPE_CHECKING:
    from recap_core.config.stages import TrainPolicyConfig
    from recap_core.lineage.artifacts import AnyDataset, NormStats, PolicyCheckpoint
    from recap_core.lineage.store import Store


class Size(StrEnum):
    """Named sizes of policies."""

    tiny = "tiny"
    single_gpu = "single_gpu"
    paper = "paper"


DatasetArgument = Annotated[str, typer.Argument(help="Dataset: id, name-id8, or ref.")]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", help="Named configuration (recap configs list), or a YAML file with one."
    ),
]
SizeOption = Annotated[
    Size | None,
    typer.Option("--preset", help="Instead of --config; by default the start's own model."),
]
StartOption = Annotated[
    str | None, typer.Option("--start", help="Policy to start from; none: fresh parameters.")
]
SettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="One setting, such as train.num_steps=2000."
    ),
]
RuntimeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime", "-r", metavar="KEY=VALUE", help="How it runs, such as fsdp_devices=8."
    ),
]
NormStatsOption = Annotated[
    str | None,
    typer.Option(help="Norm stats artifact; by default the start's own, else computed."),
]
NewNormStatsOption = Annotated[
    bool,
    typer.Option(
        "--new-norm-stats", help="Compute them from this dataset, though the start has others."
    ),
]
RefOption = Annotated[
    str | None, typer.Option(help="Point <project>/<robot>/<ref> to the new policy.")
]


def sft(  # noqa: PLR0913 - one parameter per option
    dataset: DatasetArgument,
    *,
    start: StartOption = None,
    config: ConfigOption = None,
    preset: SizeOption = None,
    settings: SettingOption = None,
    runtime: RuntimeOption = None,
    norm_stats: NormStatsOption = None,
    ref: RefOption = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Train a policy on demonstrations (stage 2): every prompt asks for positive.

    A pretrained start gets norm stats of this dataset. A killed run goes on where it was.
    """
    overrides = ["condition=positive", f"new_norm_stats={norm_stats is None}", *(settings or [])]
    _train(
        _Request(
            dataset=dataset,
            start=start,
            config=config,
            preset=preset,
            overrides=overrides,
            runtime=runtime or [],
            norm_stats=norm_stats,
            ref=ref,
            name=name or "sft",
            json=json,
        )
    )


def finetune(  # noqa: PLR0913 - one parameter per option
    dataset: DatasetArgument,
    *,
    start: StartOption = None,
    config: ConfigOption = None,
    preset: SizeOption = None,
    settings: SettingOption = None,
    runtime: RuntimeOption = None,
    norm_stats: NormStatsOption = None,
    new_norm_stats: NewNormStatsOption = False,
    ref: RefOption = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Fine-tune a policy on a dataset's own adv_ind (stage 3, or 6 on a relabelled dataset).

    A killed run goes on where it was.
    """
    overrides = [f"new_norm_stats={new_norm_stats}", *(settings or [])]
    _train(
        _Request(
            dataset=dataset,
            start=start,
            config=config,
            preset=preset,
            overrides=overrides,
            runtime=runtime or [],
            norm_stats=norm_stats,
            ref=ref,
            name=name or "finetune",
            json=json,
        )
    )


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What both commands are asked for."""

    dataset: str
    start: str | None
    config: str | None
    preset: Size | None
    overrides: list[str]
    runtime: list[str]
    norm_stats: str | None
    ref: str | None
    name: str
    json: bool


def _train(request: _Request) -> None:
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store, tell
    from deployments.cli.configuration import load_settings
    from deployments.cli.resolution import with_tokenizer_digest
    from deployments.cli.train_settings import check_one_policy, starting_policy, train_settings
    from recap_core.config.training import TrainRuntime
    from recap_core.lineage.artifacts import AnyDataset, NormStats
    from recap_core.progress import Terminal
    from recap_core.stages.train_policy import train_policy

    store = open_store()
    dataset = artifact_of_kind(store, request.dataset, AnyDataset, wanted="a dataset")
    preset = None if request.preset is None else request.preset.value
    check_one_policy(request.config, preset)
    start = starting_policy(request.start, request.config, store=store)
    settings = train_settings(request.config, preset, request.overrides, store=store, start=start)
    config = with_tokenizer_digest(settings)
    runtime = load_settings(TrainRuntime(), file=None, overrides=request.runtime)
    if request.norm_stats is None:
        stats = _norm_stats(store, dataset, start, config)
    else:
        stats = artifact_of_kind(store, request.norm_stats, NormStats, wanted="norm stats")
    policy = train_policy(
        dataset,
        stats,
        start,
        config,
        name=request.name,
        store=store,
        runtime=runtime,
        progress=Terminal(),
    )
    from recap_core.lineage.decisions import person

    if request.ref is not None:
        store.set_ref(request.ref, policy, by=person())
    metrics = store.manifest(policy).metrics
    loss = f", loss {metrics['loss']:.4g}" if "loss" in metrics else ""
    lines = [f"{policy.num_steps:,} steps, {policy.num_params:,} parameters{loss}"]
    tell(policy, store, json=request.json, lines=lines)


def _norm_stats(
    store: "Store",
    dataset: "AnyDataset",
    start: "PolicyCheckpoint | None",
    config: "TrainPolicyConfig",
) -> "NormStats":
    """Those that the start was trained with; else the dataset's."""
    from recap_core.checkpoints.policy_checkpoint import (
        asset_ids,
        norm_stats_path,
        read_policy_config,
    )
    from recap_core.config.dataset import NormStatsConfig
    from recap_core.lineage.artifacts import NormStats
    from recap_core.stages.norm_stats import compute_norm_stats, load_norm_stats

    embodiment = config.policy.embodiment
    if start is None or config.new_norm_stats or not asset_ids(store.path(start)):
        horizon = config.policy.model.action_horizon
        settings = NormStatsConfig(embodiment=embodiment, action_horizon=horizon)
        return compute_norm_stats(dataset, settings, name=dataset.name, store=store)
    for parent in start.parents:
        artifact = store.get(parent)
        if isinstance(artifact, NormStats):
            return artifact
    directory = store.path(start)
    path = norm_stats_path(directory, read_policy_config(directory).embodiment.asset_id)
    return load_norm_stats(path, dataset, embodiment, name=f"{start.name}-norm-stats", store=store)
