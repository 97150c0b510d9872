"""How every ``recap doctor`` answers: findings as a table with a verdict, or as JSON."""

import json as json_format
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from deployments.cli.options import Output

if TYPE_CHECKING:
    from recap_core.data.checks.finding import Finding, Severity

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


class Examined(NamedTuple):
    """What was looked at, and what the answer means."""

    title: str
    about: Mapping[str, str]
    """First fields of the JSON answer."""
    verdict: str
    """Field that is true where there is no error: ``can_run``."""
    errors_mean: str = "Do not train on this"
    lines: Sequence[str] = ()
    """Printed below the title."""


def finding(  # noqa: PLR0913, PLR0917 - the fields of a finding
    severity: "Severity", check: str, where: str, value: str, rule: str, fix: str
) -> "Finding":
    """A finding about one place that is no part of a dataset."""
    from recap_core.data.checks.finding import Finding, Place

    return Finding(
        severity=severity, check=check, where=Place(file=where), value=value, rule=rule, fix=fix
    )


def answer(findings: "Iterable[Finding]", examined: Examined, *, json: bool) -> None:
    """Print the findings, errors first.

    Raises:
        typer.Exit: With code 1, if there is an error.
    """
    found = sorted(findings, key=lambda one: list(STYLES).index(one.severity))
    counts = Counter(one.severity for one in found)
    if json:
        fields = {
            **examined.about,
            examined.verdict: not counts["error"],
            **{f"num_{name}s": counts[name] for name in STYLES},
            "findings": [one.model_dump(mode="json") for one in found],
        }
        sys.stdout.write(json_format.dumps(fields, indent=2) + "\n")
    else:
        console = Output(json=False, verbose=False).console
        console.print(Text(examined.title, style="bold"), soft_wrap=True)
        for line in examined.lines:
            console.print(Text(line, style="dim"))
        console.print()
        if found:
            console.print(findings_table(found))
        console.print(verdict(counts, of=examined.errors_mean))
    if counts["error"]:
        raise typer.Exit(1)


def findings_table(findings: "Iterable[Finding]") -> Table:
    """What was found, what should be, and what to do."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 1, 0))
    table.add_column("", no_wrap=True)
    table.add_column("where and what", ratio=1, overflow="fold")
    table.add_column("what should be, and what to do", ratio=1, overflow="fold")
    for one in findings:
        label = Text(one.severity, style=STYLES[one.severity])
        label.append(f"\n{one.check}", style="dim")
        found = Text(str(one.where), style="bold")
        if one.num_places > 1:
            found.append(f" and {one.num_places - 1:,} more", style="dim")
        found.append(f"\n{one.value}", style="not bold")
        rule = Text(one.rule)
        if one.fix:
            rule.append(f"\n→ {one.fix}", style="cyan")
        table.add_row(label, found, rule)
    return table


def verdict(counts: Counter[str], *, of: str) -> Text:
    """One line on what the findings come to; ``of``: what errors mean."""
    parts = [_count(counts[name], name) for name in STYLES if counts[name]]
    if counts["error"]:
        return Text(f"{of}: {', '.join(parts)}.", style=STYLES["error"])
    if parts:
        return Text(f"Nothing is broken; {' and '.join(parts)} to look at.", style="yellow")
    return Text("All is well: nothing to report.", style="green")


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")
