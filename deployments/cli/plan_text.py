"""``recap iterate --plan``: what would run and why, what is cached, expected time and disk."""

import shutil
import socket
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.cli.options import print_indented
from deployments.cli.quantities import bytes_text, seconds_text
from deployments.cli.stage_configs import with_defaults
from deployments.cli.why_text import because_line
from recap_core.config.base import Config
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.estimates import Estimate, Estimator
from recap_core.lineage.keys import Inputs, each_input
from recap_core.lineage.store import Store
from recap_core.lineage.why import History, Input, KeyParts, Planned, Why, why_run
from recap_core.stages.registry import STAGES

_NARROW = 110
"""Columns below which reasons stand under the table of a plan: beside it they had none left."""
_MARGIN = 1.1
"""Free space that a plan needs, per byte that it is expected to write."""


class PlannedStage(Protocol):
    """A stage of ``tasks.planning``, as far as it is read here."""

    @property
    def stage(self) -> str:
        """Id of the stage."""
        ...

    @property
    def name(self) -> str:
        """Name of its artifact."""
        ...

    @property
    def key(self) -> str | None:
        """Its stage key; None: not known before its inputs are made."""
        ...

    @property
    def is_cached(self) -> bool:
        """Whether it would only be looked up."""
        ...

    @property
    def artifact(self) -> Artifact | None:
        """What is in the store."""
        ...

    @property
    def config(self) -> Config:
        """Its settings."""
        ...

    @property
    def inputs(self) -> Inputs:
        """By role; those that are yet to be made have ids that no artifact has."""
        ...

    @property
    def is_refreshed(self) -> bool:
        """Whether it is executed anew because that was asked for."""
        ...


class PlanRow(NamedTuple):
    """One stage of a plan."""

    stage: str
    name: str
    is_cached: bool
    reason: str
    """Why it would run; empty if it is cached."""
    why: Why | None
    estimate: Estimate
    artifact_id: str | None

    def plain(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {
            "stage": self.stage,
            "name": self.name,
            "cached": self.is_cached,
            "artifact": self.artifact_id,
            "reason": self.reason or None,
            "why": self.why and self.why.model_dump(mode="json"),
            "expected_seconds": self.estimate.seconds,
            "expected_bytes": self.estimate.new_bytes,
            "num_past_runs": self.estimate.num_past,
        }


def plan_rows(
    stages: Sequence[PlannedStage], store: Store, *, project: str | None
) -> list[PlanRow]:
    """What a plan would do, in order.

    Args:
        stages: The plan.
        store: What there is.
        project: ``project/robot`` whose round it is.
    """
    planner = _Planner(store, project)
    return [planner.row(planned) for planned in stages]


class _Planner:
    """Explains and estimates stage after stage; later ones build on what earlier ones will make."""

    def __init__(self, store: Store, project: str | None) -> None:
        self._history = History.of(store, expand=with_defaults)
        self._estimator = Estimator(store, socket.gethostname())
        self._project = project
        self._expected: dict[_Made, tuple[KeyParts, Estimate]] = {}
        self._frames: dict[str, float | None] = {}

    def row(self, planned: PlannedStage) -> PlanRow:
        """What becomes of one stage."""
        found = planned.artifact
        if planned.is_cached and found is not None:
            nothing = Estimate(0.0, 0, 0)
            return PlanRow(planned.stage, planned.name, True, "", None, nothing, found.id)  # noqa: FBT003 - a field
        inputs = each_input(planned.inputs)
        for _, artifact in inputs:
            self._expect(artifact)
        parts = self._history.key_parts(
            planned.stage,
            STAGES[planned.stage].version,
            planned.config.semantic(),
            [Input(role=role, id=a.id, label=self._history.label(a.id)) for role, a in inputs],
        )
        asked = Planned(planned.name, parts, planned.key, self._project)
        why = why_run(self._history, asked)
        frames = [self._num_frames(a) for _, a in inputs if hasattr(a, "num_frames")]
        settings = planned.config.model_dump(mode="json")
        estimate = self._estimator.estimate(planned.stage, settings, frames)
        kind = STAGES[planned.stage].produces.model_fields["kind"].default
        made = _Made(kind, planned.name, tuple(a.id for _, a in inputs))
        self._expected[made] = (parts, estimate)
        reason = "asked for anew" if planned.is_refreshed else because_line(why)
        id_ = found and found.id
        return PlanRow(planned.stage, planned.name, False, reason, why, estimate, id_)  # noqa: FBT003 - a field

    def _expect(self, artifact: Artifact) -> None:
        """Let an input that a stage before this one will make be known by what makes it."""
        expected = self._expected.get(_Made(artifact.kind, artifact.name, artifact.parents))
        if expected is not None and artifact.id not in self._history.manifests:
            parts, estimate = expected
            self._history.expect(artifact.id, parts, f"{artifact.name} (to be made)")
            self._frames[artifact.id] = estimate.num_frames

    def _num_frames(self, artifact: Artifact) -> float | None:
        return self._frames.get(artifact.id, getattr(artifact, "num_frames", None))


class _Made(NamedTuple):
    """What a planned artifact can be recognised by."""

    kind: str
    name: str
    parents: tuple[str, ...]


class PlanTotals(NamedTuple):
    """Sums over the stages that would run."""

    num_cached: int
    num_running: int
    seconds: float
    new_bytes: int
    num_unknown: int
    """Stages whose time or size is not known; they are not in the sums."""
    free_bytes: int

    @property
    def fits(self) -> bool:
        """Whether what is known of the results fits on the disk."""
        return self.new_bytes * _MARGIN <= self.free_bytes

    def plain(self) -> dict[str, Any]:
        """The totals as JSON values."""
        return {**self._asdict(), "fits": self.fits}


def plan_totals(rows: Sequence[PlanRow], store: Store) -> PlanTotals:
    """Sums of a plan, and what is free on the store's disk."""
    running = [row.estimate for row in rows if not row.is_cached]
    directory = next(p for p in (store.home, *store.home.parents) if p.is_dir())
    return PlanTotals(
        num_cached=len(rows) - len(running),
        num_running=len(running),
        seconds=sum(estimate.seconds or 0.0 for estimate in running),
        new_bytes=sum(estimate.new_bytes or 0 for estimate in running),
        num_unknown=sum(None in (e.seconds, e.new_bytes) for e in running),
        free_bytes=shutil.disk_usage(directory).free,
    )


def plain_plan(rows: Sequence[PlanRow], store: Store) -> dict[str, Any]:
    """A plan as JSON values."""
    totals = plan_totals(rows, store)
    return {"stages": [row.plain() for row in rows], "totals": totals.plain()}


def print_plan(rows: Sequence[PlanRow], store: Store, console: Console) -> None:
    """A plan for people: a table, sums, and a warning if it does not fit on the disk."""
    is_narrow = console.width < _NARROW
    console.print(_table(rows, with_reasons=not is_narrow))
    if is_narrow:
        _print_reasons(rows, console)
    totals = plan_totals(rows, store)
    console.print(
        f"\n{totals.num_running} of {len(rows)} stages would run, {totals.num_cached} are cached."
    )
    if not totals.num_running:
        return
    if totals.num_unknown == totals.num_running:
        console.print(
            "How long they take and how much they write is not known: none of them ever ran here. "
            f"{bytes_text(totals.free_bytes)} are free."
        )
        return
    more = (
        f", and whatever {totals.num_unknown} stages take that never ran here"
        if totals.num_unknown
        else ""
    )
    console.print(
        f"Expected: {seconds_text(totals.seconds)} and {bytes_text(totals.new_bytes)} of results"
        f"{more}; {bytes_text(totals.free_bytes)} are free."
    )
    if not totals.fits:
        console.print(
            f"[red]It does not fit[/red]: {store.home} has {bytes_text(totals.free_bytes)} left. "
            "See what can go with: recap gc --dry-run"
        )


def _print_reasons(rows: Iterable[PlanRow], console: Console) -> None:
    """Why stages would run, below their table."""
    console.print("\n[bold]because[/bold]")
    for row in rows:
        if not row.is_cached:
            name = row.stage.replace("_", "-")
            print_indented(console, f"  {escape(f'{name} {row.name}: {row.reason}')}")


def _table(rows: Iterable[PlanRow], *, with_reasons: bool) -> Table:
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    titles = ("stage", "artifact", "", "time", "disk", "because")
    for title in titles if with_reasons else titles[:-1]:
        is_number = title in {"time", "disk"}
        overflow = "fold" if title == "because" else "ellipsis"
        justify = "right" if is_number else "left"
        table.add_column(title, justify=justify, no_wrap=title != "because", overflow=overflow)
    for row in rows:
        stage = row.stage.replace("_", "-")
        if row.is_cached:
            table.add_row(stage, row.name, "[green]cached[/green]", "", "")
            continue
        seconds, size = row.estimate.seconds, row.estimate.new_bytes
        table.add_row(
            stage,
            row.name,
            "runs",
            "unknown" if seconds is None else seconds_text(seconds),
            "unknown" if size is None else bytes_text(size),
            *([row.reason] if with_reasons else []),
        )
    return table
