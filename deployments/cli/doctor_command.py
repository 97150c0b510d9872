"""``recap doctor``: what can go wrong, found before it costs hours of training."""

import json as json_format
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deployments.cli.options import JsonOption, Output
from deployments.cli.recording_commands import RobotMapOption, read_robot_map

if TYPE_CHECKING:
    from recap_core.data.checks.finding import Finding

doctor = typer.Typer(
    help="Checks that find what would go wrong later.", no_args_is_help=True, add_completion=False
)

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
_LOOKED_AT = "files, metadata, columns, sums, motion, episodes, outcomes, labels, prompts, videos"


class Decode(StrEnum):
    """Images to decode."""

    none = "none"
    sampled = "sampled"
    all = "all"


_PICTURES = {
    Decode.none: "no picture was decoded",
    Decode.sampled: "of pictures the first, middle and last of every episode",
    Decode.all: "every picture was decoded",
}


@doctor.callback()
def _group() -> None:
    """Checks that find what would go wrong later."""


@doctor.command(epilog="Example: recap doctor data demo/sim-aloha/round-1-dataset --decode all")
def data(
    path_or_artifact: Annotated[
        str, typer.Argument(help="Directory or artifact: a dataset, or a recording session.")
    ],
    *,
    decode: Annotated[
        Decode, typer.Option(help="Images to decode: first, middle and last of every episode.")
    ] = Decode.sampled,
    robot: RobotMapOption = None,
    json: JsonOption = False,
) -> None:
    """Check a dataset or a recording from the file names to the pictures; exit code 1 on errors."""
    from recap_core.config.validation import ValidateConfig
    from recap_core.data.validate import validate
    from recap_core.progress import Terminal

    output = Output(json=json, verbose=False)
    root = _directory(path_or_artifact)
    findings = validate(
        root,
        ValidateConfig(decode=decode.value),
        robot=None if robot is None else read_robot_map(robot),
        progress=Terminal(),
    )
    counts = Counter(finding.severity for finding in findings)
    if json:
        answer = {
            "path": str(root),
            "is_valid": not counts["error"],
            **{f"num_{name}s": counts[name] for name in _STYLES},
            "findings": [finding.model_dump(mode="json") for finding in findings],
        }
        sys.stdout.write(json_format.dumps(answer, indent=2) + "\n")
    else:
        _print(root, findings, decode, output.console)
    if counts["error"]:
        raise typer.Exit(1)


def _directory(reference: str) -> Path:
    """A directory, or that of an artifact in the store."""
    if Path(reference).is_dir():
        return Path(reference).absolute()
    from recap_core.config.environment import recap_home
    from recap_core.errors import ArtifactNotFoundError, ConfigError
    from recap_core.lineage.artifacts import AnyDataset, Recording
    from recap_core.lineage.store import Store

    store = Store(recap_home())
    try:
        artifact = store.get(reference)
    except ArtifactNotFoundError as error:
        raise ArtifactNotFoundError(
            f"{reference} is neither a directory nor an artifact ({error})"
        ) from error
    if not isinstance(artifact, AnyDataset | Recording):
        raise ConfigError(
            f"{artifact.name}-{artifact.id[:8]} is a {artifact.kind}; datasets and recordings can "
            "be checked"
        )
    return store.path(artifact)


def _print(root: Path, findings: "list[Finding]", decode: Decode, console: Console) -> None:
    console.print(Text(str(root), style="bold"), soft_wrap=True)
    console.print(Text(_facts(root), style="dim"))
    console.print(Text(f"Looked at {_LOOKED_AT}; {_PICTURES[decode]}.", style="dim"))
    console.print()
    if findings:
        console.print(findings_table(findings))
    console.print(verdict(Counter(finding.severity for finding in findings)))


def _facts(root: Path) -> str:
    """What is in the directory, as far as its metadata can be read."""
    from recap_core.data.layout import read_meta
    from recap_core.errors import DataError

    try:
        meta = read_meta(root)
    except DataError:
        num_episodes = sum(path.is_dir() for path in root.glob("episode_*"))
        return f"Recording of {_count(num_episodes, 'episode')}" if num_episodes else "No dataset"
    parts = [
        _count(meta.num_episodes, "episode"),
        f"{_count(meta.num_frames, 'frame')} at {meta.fps} fps",
        _count(len(meta.cameras), "camera"),
        _count(len(meta.tasks), "task"),
    ]
    return f"LeRobot dataset of {', '.join(parts)}"


def findings_table(findings: "list[Finding]") -> Table:
    """What was found, what should be, and what to do."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 1, 0))
    table.add_column("", no_wrap=True)
    table.add_column("where and what", ratio=1, overflow="fold")
    table.add_column("what should be, and what to do", ratio=1, overflow="fold")
    for finding in findings:
        label = Text(finding.severity, style=_STYLES[finding.severity])
        label.append(f"\n{finding.check}", style="dim")
        found = Text(str(finding.where), style="bold")
        if finding.num_places > 1:
            found.append(f" and {finding.num_places - 1:,} more", style="dim")
        found.append(f"\n{finding.value}", style="not bold")
        rule = Text(finding.rule)
        if finding.fix:
            rule.append(f"\n→ {finding.fix}", style="cyan")
        table.add_row(label, found, rule)
    return table


def verdict(counts: Counter[str], *, of: str = "Do not train on this") -> Text:
    """One line on what the findings come to; ``of``: what errors mean."""
    parts = [_count(counts[name], name) for name in _STYLES if counts[name]]
    if counts["error"]:
        return Text(f"{of}: {', '.join(parts)}.", style=_STYLES["error"])
    if parts:
        return Text(f"Nothing is broken; {' and '.join(parts)} to look at.", style="yellow")
    return Text("All is well: nothing to report.", style="green")


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")
