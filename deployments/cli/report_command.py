"""``recap report``: where the pages are that tell what rounds have done."""

import json as json_format
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from recap_core.lineage.iterations import IterationRecord
    from recap_core.stages.index_snapshot import Snapshot


def report(  # noqa: PLR0913 - one parameter per option
    iteration: Annotated[
        str | None,
        typer.Argument(
            help="Round: its number (with --project where there are several), its id or "
            "project/robot/round-3; default: the one that finished last."
        ),
    ] = None,
    *,
    project: Annotated[
        str | None, typer.Option(help="PROJECT/ROBOT; the robot may be left out if it has one.")
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    index: Annotated[
        Path | None,
        typer.Option("--index", help="Write the page over all rounds of the project to one file."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", help="Write all pages of the store into a new directory, to hand over."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --index.")] = False,
    json: JsonOption = False,
) -> None:
    """The report of a round, the page over all rounds, or all pages as a directory."""
    from recap_core.config.environment import recap_home
    from recap_core.lineage.store import Store
    from recap_core.stages.index_snapshot import read_snapshot

    store = Store(recap_home())
    if export is not None:
        _export(store_home=store.home, target=export, open_page=open_page, json=json)
        return
    snapshot = read_snapshot(store)
    record = _find(snapshot, iteration, project)
    if index is not None:
        _index(snapshot, record, index, force=force, open_page=open_page, json=json)
        return
    _tell(snapshot, record, open_page=open_page, json=json)


def _tell(snapshot: "Snapshot", record: "IterationRecord", *, open_page: bool, json: bool) -> None:
    from recap_core.errors import ArtifactNotFoundError
    from recap_core.stages.index_pages import report_file

    artifact, report_id = record.artifact, record.id("report")
    if report_id is None:
        raise ArtifactNotFoundError(
            f"round {artifact.round_index} of {artifact.project}/{artifact.robot} has no report. "
            "See the round with: recap report --export DIRECTORY"
        )
    path = report_file(snapshot, report_id)
    facts = {
        "project": artifact.project,
        "robot": artifact.robot,
        "round": artifact.round_index,
        "iteration": artifact.id,
        "verdict": artifact.verdict,
        "reasons": list(artifact.reasons),
        "report": str(path),
    }
    _answer(facts, str(path), path, open_page=open_page, json=json)


def _index(  # noqa: PLR0913 - options are keyword-only
    snapshot: "Snapshot",
    record: "IterationRecord",
    target: Path,
    *,
    force: bool,
    open_page: bool,
    json: bool,
) -> None:
    from recap_core.lineage.atomic_file import atomic_file
    from recap_core.stages.index_pages import write_index

    name = (record.artifact.project, record.artifact.robot)
    with atomic_file(target, overwrite=force) as draft:
        size = write_index(snapshot.store, draft, name)
    num_rounds = len(snapshot.records[name])
    noun = "round" if num_rounds == 1 else "rounds"
    text = f"{target}: {num_rounds} {noun} of {'/'.join(name)}, {size / 1e3:.0f} kB"
    facts = {"index": str(target.absolute()), "rounds": num_rounds, "bytes": size}
    _answer(facts, text, target, open_page=open_page, json=json)


def _export(*, store_home: Path, target: Path, open_page: bool, json: bool) -> None:
    from recap_core.lineage.store import Store
    from recap_core.stages.index_pages import write_site

    num_pages = write_site(Store(store_home), target)
    first = target / "index.html"
    text = f"{first}: {num_pages} pages"
    facts = {"index": str(first.absolute()), "pages": num_pages}
    _answer(facts, text, first, open_page=open_page, json=json)


def _answer(
    facts: dict[str, object], text: str, page: Path, *, open_page: bool, json: bool
) -> None:
    typer.echo(json_format.dumps(facts, indent=2) if json else text)
    if open_page and not webbrowser.open(page.absolute().as_uri()):
        typer.echo("No browser was found here; copy the page to where one is.", err=True)


def _find(snapshot: "Snapshot", iteration: str | None, project: str | None) -> "IterationRecord":
    """The round that is meant.

    Raises:
        ArtifactNotFoundError: If there is none.
        ConfigError: If a number fits rounds of several projects.
    """
    from recap_core.errors import ArtifactNotFoundError

    records = _of_project(snapshot, project)
    if iteration is None:
        return max(records, key=lambda record: record.manifest.finished_at)
    if iteration.isascii() and iteration.isdigit() and len(iteration) < 6:
        found = [r for r in records if r.artifact.round_index == int(iteration)]
        return _only(found, f"round {iteration}", snapshot)
    meant = snapshot.store.get(iteration)
    found = [r for r in records if r.artifact.id == meant.id]
    if not found:
        raise ArtifactNotFoundError(
            f"{iteration} is {meant.kind} {meant.name}-{meant.id[:8]}, no finished round. Name a "
            "round by its number, or see them all with: recap report --index rounds.html"
        )
    return found[0]


def _of_project(snapshot: "Snapshot", project: str | None) -> "list[IterationRecord]":
    from recap_core.errors import ArtifactNotFoundError

    chosen = {
        name: records
        for name, records in snapshot.records.items()
        if project is None or project in {name[0], "/".join(name)}
    }
    if not chosen:
        known = ", ".join("/".join(name) for name in snapshot.records) or "none yet"
        what = f"of project {project!r} " if project else ""
        raise ArtifactNotFoundError(
            f"no round {what}has finished in {snapshot.store.home} (there are: {known}). "
            "Run one with: recap iterate"
        )
    return [record for records in chosen.values() for record in records]


def _only(found: "list[IterationRecord]", what: str, snapshot: "Snapshot") -> "IterationRecord":
    from recap_core.errors import ArtifactNotFoundError, ConfigError

    if not found:
        done = ", ".join(r.label for records in snapshot.records.values() for r in records[-5:])
        raise ArtifactNotFoundError(
            f"{what} has not finished in {snapshot.store.home}; the last that have: {done}"
        )
    if len(found) > 1:
        names = ", ".join(f"{r.artifact.project}/{r.artifact.robot}" for r in found)
        raise ConfigError(f"{what} exists in {names}; say which with --project PROJECT/ROBOT")
    return found[0]
