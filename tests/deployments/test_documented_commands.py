"""Commands in the docs exist, with the options and arguments that the docs give them."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from deployments.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?:sh|console|)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def documented() -> list[tuple[str, str]]:
    """(page, command) of every line of a code block that calls ``recap``."""
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            lines = [line.removeprefix("$ ") for line in block.splitlines()]
            found += [(page.name, line) for line in lines if line.startswith("recap ")]
    return found


def parse(arguments: list[str]) -> None:
    """Parse a command line without running it."""
    name, command = "recap", typer.main.get_command(app)
    context = None
    while hasattr(command, "resolve_command"):  # a group
        group: Any = command
        context = group.context_class(group, info_name=name, parent=context)
        name, command, arguments = group.resolve_command(context, arguments)
    command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize(("page", "line"), documented())
def test_a_documented_command_is_understood(page: str, line: str) -> None:
    """No unknown option, no missing argument."""
    del page
    arguments = shlex.split(line.partition("|")[0], comments=True)

    parse(arguments[1:])


def test_the_docs_show_commands() -> None:
    """Or the test above would prove nothing."""
    assert len(documented()) > 10
    with pytest.raises(Exception, match="No such option"):
        parse(["merge", "a", "--no-such-option"])
    with pytest.raises(Exception, match="No such command"):
        parse(["label", "nosuch"])
