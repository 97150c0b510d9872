"""``recap configs``: policy setups and robots that are known by name."""

import json as json_format
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.options import JsonOption, Output

if TYPE_CHECKING:
    from recap_core.config.policy_setup import PolicySetup

configs = typer.Typer(help="Policy setups and robots that are known by name.", no_args_is_help=True)

FormatOption = Annotated[
    bool, typer.Option("--yaml/--json", help="YAML for recap.yaml, or everything as JSON.")
]


@configs.command("list", epilog="Example: recap configs list")
def list_(*, json: JsonOption = False) -> None:
    """Every setup: what it trains, from where, on which data."""
    from recap_core.config.registry import policy_setup, policy_setup_names

    setups = [policy_setup(name) for name in policy_setup_names()]
    if json:
        _print(json_format.dumps([_row(setup) for setup in setups], indent=2))
        return
    _table([_row(setup) for setup in setups])
    _print("Names of openpi's serving twins (<name>_infer) mean the same setups.")


@configs.command(
    epilog="Example: recap configs show pi06_yam_vial_30fps_lora_from_sft > recap.yaml"
)
def show(  # noqa: PLR0913 - one parameter per option
    name: Annotated[str, typer.Argument(help="A name of `recap configs list`.")],
    *,
    dataset: Annotated[str | None, typer.Option(help="Repository id of your own data.")] = None,
    task: Annotated[str | None, typer.Option(help="Task text, the default prompt.")] = None,
    asset_id: Annotated[
        str | None, typer.Option(help="Directory of the norm stats inside a checkpoint's assets/.")
    ] = None,
    embodiment: Annotated[
        str | None,
        typer.Option(help="Another robot: a name of `recap configs robots`, or a YAML file."),
    ] = None,
    yaml: FormatOption = True,
) -> None:
    """A setup as the part of recap.yaml that it decides."""
    from deployments.cli.embodiments import load_embodiment
    from recap_core.config.registry import policy_setup

    robot = None if embodiment is None else load_embodiment(embodiment)
    setup = policy_setup(name, dataset=dataset, task=task, asset_id=asset_id, embodiment=robot)
    if not yaml:
        _print(json_format.dumps(setup.model_dump(mode="json"), indent=2))
        return
    facts = [f"{setup.name}: {setup.model_name}, {setup.stage}"]
    facts += [f"starts from {setup.start}"] if setup.start else []
    facts += [f"learns from {setup.dataset}"] if setup.dataset else []
    facts += [f"norm stats: {setup.asset_id} of {setup.norm_stats_of}"] * bool(setup.norm_stats_of)
    facts += [f"published at {setup.published}"] if setup.published else []
    _print_yaml(facts, setup.project_settings())


@configs.command(epilog="Example: recap configs robots")
def robots(*, json: JsonOption = False) -> None:
    """Robots whose columns, action space and normalisation are known by name."""
    from recap_core.config.embodiments import EMBODIMENTS

    rows = [
        {
            "name": name,
            "state": f"{robot.state_dim or '?'}: {' + '.join(robot.state)}",
            "action": f"{robot.action_dim or '?'}: {robot.action}",
            "cameras": ", ".join(robot.views.values()),
            "relative": ",".join(map(str, robot.delta_mask)) or "-",
            "normalisation": robot.normalization,
        }
        for name, robot in EMBODIMENTS.items()
    ]
    if json:
        _print(json_format.dumps(rows, indent=2))
        return
    _table(rows)


@configs.command(
    epilog="Example: recap configs robot my_robot.yaml --dataset demonstrations-1a2b3c4d"
)
def robot(
    robot: Annotated[str, typer.Argument(help="A name of `recap configs robots`, or a YAML file.")],
    *,
    dataset: Annotated[
        str | None, typer.Option(help="Check it against this dataset: id, name-id8 or ref.")
    ] = None,
    yaml: FormatOption = True,
) -> None:
    """Check a robot's settings, and print them with everything that they leave to the defaults."""
    from deployments.cli.embodiments import check_embodiment, load_embodiment

    embodiment = load_embodiment(robot)
    facts = [] if dataset is None else check_embodiment(embodiment, dataset)
    if yaml:
        _print_yaml(facts, embodiment.model_dump(mode="json"))
        return
    _print(json_format.dumps(embodiment.model_dump(mode="json"), indent=2))


def _row(setup: "PolicySetup") -> dict[str, Any]:
    return {
        "name": setup.name,
        "stage": setup.stage,
        "model": setup.model_name,
        "start": setup.start or "-",
        "dataset": setup.dataset or "-",
        "batch": "-" if setup.stage == "serve" else setup.train.train.batch_size,
    }


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Output(json=False, verbose=False).console.print(table)


def _print_yaml(comments: list[str], content: dict[str, Any]) -> None:
    from yaml import safe_dump

    # Through JSON, so that what occurs twice is written twice and not as a reference.
    plain = json_format.loads(json_format.dumps(content))
    text = safe_dump(plain, sort_keys=False, default_flow_style=None, width=96)
    _print("".join(f"# {comment}\n" for comment in comments) + text)


def _print(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")
