"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

FILE_WIDTH = 120
"""Columns of a table that goes to a file or a pipe, which has no width of its own."""


class Preset(StrEnum):
    """Project that settings start from."""

    tiny = "tiny"
    plumbing = "plumbing"
    single_gpu = "single_gpu"
    paper = "paper"


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Project settings in YAML, laid over the preset."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="One setting, such as iteration.control=null; may be repeated.",
    ),
]
PRESET_HELP = (
    "Project that settings start from: tiny for a CPU (plumbing is its short form), "
    "single_gpu for 24 GB with LoRA, paper for all weights."
)
SetUpPresetOption = Annotated[
    Preset | None,
    typer.Option("--preset", help=PRESET_HELP, show_default="tiny, if no project is saved yet"),
]
RefreshOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STAGE",
        help="Run this stage anew although its result is there, such as train-value; may be "
        "repeated.",
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, help="Of demonstrations, rollouts and training.")
]
SavedOption = Annotated[
    str | None,
    typer.Option(
        "--project", help="A project that was set up before. Default: the only one there is."
    ),
]
CellSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="One setting of the cell, such as session.episode_limit_s=60; may be repeated.",
    ),
]
RunSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="One setting of this run only, such as iteration.control=null; may be repeated. "
        "'recap up -s' keeps it.",
    ),
]
NoCamerasOption = Annotated[bool, typer.Option("--no-cameras", help="Record no images.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, to stdout.")
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show Prefect's log on the terminal.")
]


NameOption = Annotated[str | None, typer.Option(help="Name of the new artifact.")]


def print_indented(console: Console, text: str) -> None:
    """Print a line that begins with blanks; what does not fit goes on below, further in."""
    indent = len(text) - len(text.lstrip(" "))
    for i, line in enumerate(
        Text.from_markup(text.lstrip(" ")).wrap(console, console.width - indent - 2)
    ):
        console.print(Padding(line, (0, 0, 0, indent + 2 * (i > 0)), expand=False))


class Output(NamedTuple):
    """How a command answers."""

    json: bool
    verbose: bool

    @property
    def console(self) -> Console:
        """Where people read: stdout, or stderr if stdout carries JSON."""
        console = Console(stderr=self.json, highlight=False)
        if not console.is_terminal:
            console.width = FILE_WIDTH
        return console
