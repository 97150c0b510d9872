"""``recap import-policy`` and ``export-policy``: checkpoints of openpi and lerobot, in and out.

Whatever takes time to import is imported inside the commands, so that help is instant.
"""

import json as json_format
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption, NameOption

if TYPE_CHECKING:
    from recap_core.config.policy import PolicyConfig
    from recap_core.stages.import_policy import PolicySource


class Layout(StrEnum):
    """Whose files."""

    openpi = "openpi"
    lerobot = "lerobot"


class Size(StrEnum):
    """Policies that need no settings file: two YAM arms, three cameras; tiny is the demo's."""

    pi05 = "pi05"
    pi05_lora = "pi05_lora"
    pi0 = "pi0"
    tiny = "tiny"


ConfigNameOption = Annotated[
    str | None, typer.Option("--config", metavar="NAME", help="A name of `recap configs list`.")
]
PolicyFileOption = Annotated[
    Path | None,
    typer.Option("--policy-config", metavar="FILE", help="A PolicyConfig, in YAML or JSON."),
]
SizeOption = Annotated[Size | None, typer.Option(help="A policy of that size for YAM arms.")]
AssetOption = Annotated[
    str | None,
    typer.Option(help="Whose norm stats. Default: the config's, or the only ones there are."),
]
StatsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="This norm_stats.json instead of its own.")
]
BaseOption = Annotated[
    bool, typer.Option("--base", help="No norm stats: only to start trainings from.")
]


def import_policy(  # noqa: PLR0913 - one parameter per option
    path: Annotated[
        Path, typer.Argument(help="openpi: experiment, step or params; lerobot: the policy.")
    ],
    *,
    config: ConfigNameOption = None,
    policy_config: PolicyFileOption = None,
    size: SizeOption = None,
    embodiment: Annotated[
        str | None,
        typer.Option(help="Another robot for --config: a name of `recap configs robots`, or YAML."),
    ] = None,
    asset_id: AssetOption = None,
    norm_stats: StatsOption = None,
    base: BaseOption = False,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy openpi's files instead of hard-linking them.")
    ] = False,
    name: NameOption = None,
    ref: Annotated[
        str | None, typer.Option(help="Point this reference to it: pretrained/pi05/base.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """A checkpoint of openpi or lerobot (pi0.5) becomes a policy: to serve, or to train from.

    One of --config, --policy-config and --size says what it was trained as (our own exports know
    it). Its parameters must fit that exactly, and be finite. openpi's files are shared by hard
    link, which makes them read-only; of an experiment the newest complete step is taken.
    """
    from deployments.cli.artifact_arguments import open_store, tell
    from deployments.cli.import_command import default_name
    from recap_core.errors import ConfigError
    from recap_core.lineage.refs import check_ref
    from recap_core.progress import Terminal
    from recap_core.stages.import_policy import describe_policy
    from recap_core.stages.import_policy import import_policy as import_stage

    if base and norm_stats is not None:
        raise ConfigError("--base takes no norm stats and --norm-stats names some; keep one.")
    if ref is not None:
        check_ref(ref)
    store = open_store()
    policy = _policy(path, config, policy_config, size, embodiment)
    source = describe_policy(
        path, policy, asset_id=asset_id, norm_stats=norm_stats, base=base, store=store
    )
    named = source.path if source.step is None else source.path.parent
    result = import_stage(
        source, name=name or default_name(named), store=store, copies=copy, progress=Terminal()
    )
    from recap_core.lineage.decisions import person

    if ref is not None:
        store.set_ref(ref, result, by=person())
    lines = [*_origin(source), f"{result.num_params:,} parameters"]
    tell(result, store, json=json, lines=lines)


def _origin(source: "PolicySource") -> list[str]:
    step = "" if source.step is None else f", step {source.step}"
    asset = source.config.policy.embodiment.asset_id
    stats = "no norm stats" if source.config.norm_stats is None else f"norm stats of {asset}"
    return [f"from {source.path} ({source.config.layout}{step})", stats]


def export_policy(  # noqa: PLR0913 - one parameter per option
    policy: Annotated[str, typer.Argument(help="Id, name-id8 or project/robot/ref.")],
    directory: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="openpi: experiment; lerobot: new directory."),
    ],
    *,
    layout: Annotated[Layout, typer.Option("--format", help="Who is to read it.")] = Layout.openpi,
    merge_lora: Annotated[
        bool, typer.Option("--merge-lora", help="Fold LoRA adapters into a full policy.")
    ] = False,
    nnx_values: Annotated[
        bool | None,
        typer.Option(
            "--nnx-values/--no-nnx-values",
            help="openpi: with or without a level 'value' below every leaf. Default: as stored.",
        ),
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=0, help="openpi: number of the step. Default: its last.")
    ] = None,
    new_transformers: Annotated[
        bool,
        typer.Option("--new-transformers", help="lerobot: tensor names of transformers >= 5.6."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a policy for openpi (OUT/STEP, served and trained from as it is) or lerobot.

    Nothing is linked, and nothing is overwritten. The directory appears whole or not at all.
    """
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from recap_core.config.import_policy import ExportPolicyConfig
    from recap_core.lineage.artifacts import PolicyCheckpoint
    from recap_core.progress import Terminal
    from recap_core.stages.export_policy import export_policy as export_stage

    store = open_store()
    found = artifact_of_kind(store, policy, PolicyCheckpoint, wanted="a policy")
    written = export_stage(
        found,
        directory,
        ExportPolicyConfig(
            layout=layout.value,
            step=step,
            nnx_values=nnx_values,
            merge_lora=merge_lora,
            vision_model=not new_transformers,
        ),
        store=store,
        progress=Terminal(),
    )
    if json:
        facts = {**written._asdict(), "directory": str(written.directory), "format": layout.value}
        sys.stdout.write(json_format.dumps(facts, indent=2) + "\n")
        return
    kind = "LoRA policy" if written.has_lora else "full policy"
    sys.stdout.write(f"{layout.value}: {kind}, {written.num_bytes / 1e6:,.1f} MB\n")
    sys.stdout.write(f"{written.directory}\n")


def _policy(
    path: Path, name: str | None, file: Path | None, size: Size | None, embodiment: str | None
) -> "PolicyConfig":
    """The one configuration that was named."""
    from recap_core.errors import ConfigError

    if embodiment is not None and name is None:
        raise ConfigError("--embodiment changes the robot of a --config NAME; name one")
    given = [option for option in (name, file, size) if option is not None]
    own = None if given else _own_config(path)
    if own is not None:
        return own
    if len(given) != 1:
        raise ConfigError(
            "say what the policy was trained as: exactly one of --config NAME, "
            "--policy-config FILE and --size"
        )
    if name is not None:
        return _registered(name, embodiment)
    return _policy_of_size(size) if size is not None else _read_policy(file or Path())


def _own_config(path: Path) -> "PolicyConfig | None":
    """The configuration that an export of ours brings along; None if there is none."""
    from recap_core.checkpoints.lerobot_policy import is_lerobot_policy
    from recap_core.checkpoints.locate import locate_checkpoint
    from recap_core.checkpoints.policy_checkpoint import CONFIG, read_policy_config

    if is_lerobot_policy(path.expanduser()):
        return None
    root = locate_checkpoint(path).root
    return read_policy_config(root) if (root / CONFIG).is_file() else None


def _registered(name: str, embodiment: str | None) -> "PolicyConfig":
    from deployments.cli.embodiments import load_embodiment
    from recap_core.config.registry import policy_setup

    robot = None if embodiment is None else load_embodiment(embodiment)
    return policy_setup(name, embodiment=robot).train.policy


def _read_policy(file: Path) -> "PolicyConfig":
    from pydantic import ValidationError

    from recap_core.config.overlay import explain, read_settings
    from recap_core.config.policy import PolicyConfig
    from recap_core.errors import ConfigError

    try:
        return PolicyConfig.model_validate(read_settings(file))
    except ValidationError as error:
        raise ConfigError(f"{file}: {explain(error, PolicyConfig)}") from None


def _policy_of_size(size: Size) -> "PolicyConfig":
    from recap_core.config.presets import policy_config

    if size is Size.tiny:
        return policy_config("tiny")
    if size is Size.pi05_lora:
        return policy_config("single_gpu")
    policy = policy_config("paper")
    if size is Size.pi05:
        return policy
    model = {"time_input": "concat", "state_input": "continuous", "max_token_len": 48}
    return policy.model_copy(
        update={
            "model": policy.model.model_copy(update=model),
            "embodiment": policy.embodiment.model_copy(update={"normalization": "z_score"}),
            "prompt": policy.prompt.model_copy(update={"advantage": False}),
        }
    )
