"""Progress and metrics of long work: one interface, and its terminal and JSONL forms.

A stage receives a ``Progress`` and calls ``progress.bar(...)`` around its loop. Who watches is the
caller's business: a terminal bar, a JSONL file, an orchestrator's own artifact, or nobody.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress


@runtime_checkable
class Bar(Protocol):
    """The progress of one loop."""

    def update(self, done: int, note: str = "") -> None:
        """Say that ``done`` units of the total are finished; ``note`` is a short live remark."""
        ...


@runtime_checkable
class Progress(Protocol):
    """Somebody, or nobody, who watches long work."""

    def bar(self, label: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """A context manager around a loop of ``total`` units, ``done`` of them finished before."""
        ...


class _SilentBar:
    def update(self, done: int, note: str = "") -> None:
        """Tell nobody."""


class Silent:
    """Nobody watches."""

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """A bar that nobody sees."""
        del label, total, done
        yield _SilentBar()


class _TerminalBar:
    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int, note: str = "") -> None:
        """Redraw the bar."""
        self._progress.update(self._task, completed=done, note=note)


class Terminal:
    """A bar on a terminal; silent where the output is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """A bar with counts, elapsed and remaining time."""
        columns = (
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        quiet = not self._console.is_terminal  # else an empty line is printed at the end
        with RichProgress(
            *columns, console=self._console, transient=True, disable=quiet
        ) as progress:
            task = progress.add_task(label, total=total, completed=done, note="")
            yield _TerminalBar(progress, task)


class MetricsLog:
    """Metrics as JSON lines, one object per step: ``{"step": 100, "loss": 0.31}``.

    The file is opened for appending. After a resume, lines past the step that training resumes
    from are dropped first, so that every step appears once.
    """

    def __init__(self, path: Path, *, resume_step: int = 0) -> None:
        self._path = path
        kept = [row for row in read_metrics(path) if row["step"] <= resume_step]
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def read_metrics(path: Path) -> list[dict[str, int | float]]:
    """Every complete line of a metrics file; none if the file does not exist.

    A line cut short by a kill is the last one, and is left out.
    """
    if not path.exists():
        return []
    rows: list[dict[str, int | float]] = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
