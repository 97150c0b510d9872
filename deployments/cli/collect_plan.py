"""``recap collect --plan``: what a session would be, and whether it could begin now."""

import json as json_format
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from deployments.cli.collect_checks import check_cell, problems
from deployments.cli.collect_settings import (
    bytes_per_hour,
    cameras_of,
    goal_text,
    has_leader,
    robot_rate,
    robot_text,
)
from deployments.cli.options import Output
from deployments.cli.quantities import bytes_text, seconds_text

if TYPE_CHECKING:
    from recap_core.config.cell import CellConfig
    from recap_core.data.checks.finding import Finding

CANNOT_START = 2
NO_LEADER = "none: nobody can correct"
_MARKS = {"error": ("x", "bold red"), "warning": ("!", "bold"), "note": ("+", "bold green")}


def show_plan(config: "CellConfig", *, json: bool) -> None:
    """Print what would happen; nothing is moved, recorded or left behind.

    Raises:
        typer.Exit: With code 2, if it could not begin.
    """
    findings = check_cell(config, writes=False)
    reasons = problems(findings)
    if json:
        sys.stdout.write(json_format.dumps(_plain(config, findings, reasons), indent=2) + "\n")
    else:
        _print(config, findings, reasons)
    if reasons:
        raise typer.Exit(CANNOT_START)


def _print(config: "CellConfig", findings: "list[Finding]", reasons: list[str]) -> None:
    console = Output(json=False, verbose=False).console
    console.print(_table((name, Text(text)) for name, text in _rows(config).items()))
    console.print()
    console.print(_table((f"{one.check}", _found(one)) for one in findings))
    console.print()
    if not reasons:
        console.print(Text("It can begin: the same command without --plan.", style="bold"))
        return
    console.print(Text("It cannot begin:", style="bold red"))
    for reason in reasons:
        console.print(Text(f"- {reason}"))


def _table(rows: Iterable[tuple[str, Text]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True, min_width=10)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text)
    return table


def _found(one: "Finding") -> Text:
    mark, style = _MARKS[one.severity]
    text = Text.assemble((mark, style), f" {one.where}: {one.value}")
    for more in filter(None, (one.rule, one.fix)):
        text.append(f"\n  {more}")
    return text


def _rows(config: "CellConfig") -> dict[str, str]:
    """What the settings say, by topic."""
    session, base = config.session, config.recording.base_dir.expanduser().absolute()
    rate_hz = robot_rate(config.robot)
    rate = "as recorded" if rate_hz is None else f"{rate_hz} Hz"
    limit = seconds_text(session.episode_limit_s)
    after = {
        "rollout": "ingest the session, and train a round with it",
        "demonstration": "ingest the session; bootstrap learns from it",
        "evaluation": "recap evaluate on it; then promote, or not",
    }[session.mode]
    return {
        "task": config.task,
        "session": f"{session.mode}; goal: {goal_text(session)}; an episode ends after {limit}",
        "robot": f"{robot_text(config.robot)}, control loop {rate}",
        "cameras": _cameras_text(config),
        "leader": "the operator can correct" if has_leader(config.robot) else NO_LEADER,
        "directory": f"a new one in {base}",
        "disk": _disk_text(config),
        "afterwards": after,
    }


def _cameras_text(config: "CellConfig") -> str:
    cameras = cameras_of(config.robot)
    if cameras is None:
        return "as the recording has them"
    named = (f"{camera.name} {camera.height_px}x{camera.width_px}" for camera in cameras)
    return ", ".join(named) or "none"


def _disk_text(config: "CellConfig") -> str:
    per_hour = bytes_per_hour(config.robot)
    base = config.recording.base_dir.expanduser().absolute()
    there = next(path for path in (base, *base.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if per_hour is None:
        return f"{bytes_text(free)} free"
    hours = max(free - config.recording.disk_reserve_bytes, 0) / per_hour
    room = f"{hours:.1f} hours" if hours < 100 else "more than 100 hours"
    return f"about {bytes_text(per_hour)} per hour; {bytes_text(free)} free: {room}"


def _plain(config: "CellConfig", findings: "list[Finding]", reasons: list[str]) -> dict[str, Any]:
    return {
        "can_start": not reasons,
        "reasons": reasons,
        "plan": _rows(config),
        "bytes_per_hour": bytes_per_hour(config.robot),
        "findings": [one.model_dump(mode="json") for one in findings],
        "cell": config.model_dump(mode="json"),
    }
