"""``recap why-rerun``: what decides about reuse, and what was different the last time."""

import sys
from collections.abc import Collection
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption
from recap_core.errors import ArtifactNotFoundError

if TYPE_CHECKING:
    from recap_core.lineage.manifest import Manifest
    from recap_core.lineage.store import Store
    from recap_core.lineage.why import History

_MAX_SETTINGS = 8


def why_rerun(
    subject: Annotated[
        str,
        typer.Argument(help="Stage, such as train-value, for its newest result; or an artifact."),
    ],
    *,
    project: Annotated[
        str | None,
        typer.Option(help="Project, or project/robot, whose newest result of a stage is meant."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Every setting that is no default.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Say what an artifact's reuse depends on, and why it was made instead of an earlier one.

    It is reused as long as stage, version, settings and inputs stay the same. What differed from
    the nearest earlier result is followed through the inputs, down to recordings. For what would
    run next see: recap iterate --plan.
    """
    from deployments.cli.artifact_arguments import open_store
    from deployments.cli.stage_configs import with_defaults
    from deployments.cli.why_text import why_lines
    from recap_core.lineage.why import History, why_made

    store = open_store()
    history = History.of(store, expand=with_defaults)
    manifest = _subject(store, history, subject, project)
    why = why_made(history, manifest)
    if json:
        sys.stdout.write(why.model_dump_json(indent=2) + "\n")
        return
    took_s = (manifest.finished_at - manifest.started_at).total_seconds()
    head = (
        f"{manifest.kind.replace('_', ' ')} {why.label} was made on "
        f"{manifest.finished_at:%Y-%m-%d %H:%M} in {took_s:.1f} s.{_state(store, manifest)}"
        f"\nIt is reused as long as all of this stays the same (key {manifest.stage_key[:8]}):"
    )
    sys.stdout.write(
        "\n".join([head, *why_lines(why, max_settings=None if verbose else _MAX_SETTINGS), ""])
    )


def _subject(store: "Store", history: "History", subject: str, project: str | None) -> "Manifest":
    from recap_core.lineage.references import projects_named
    from recap_core.stages.registry import STAGES

    projects = projects_named(store, project) if project else None
    stage = subject.replace("-", "_")
    if "/" in subject:
        return store.manifest(store.get(subject))
    if subject != stage or stage in {manifest.stage for manifest in history.manifests.values()}:
        found = _newest(history, stage, projects)
        if found is not None:
            return found
    if project is not None and stage in STAGES:
        raise ArtifactNotFoundError(
            f"no finished round of {project} has a result of stage {stage}; leave --project out, "
            f"or see its results with: recap lineage graph --all --project {project}"
        )
    stages = {manifest.stage.replace("_", "-") for manifest in history.manifests.values()}
    try:
        return _named(store, history, subject, project)
    except ArtifactNotFoundError as error:
        is_stage = stage in STAGES
        close = [] if is_stage else get_close_matches(subject.replace("_", "-"), stages, 1)
        meant = f"; did you mean {close[0]}?" if close else f": {error}"
        raise ArtifactNotFoundError(
            f"{subject!r} is no stage with a result in {store.home} "
            f"({', '.join(sorted(stages)) or 'there is none yet'}), and no artifact{meant}"
        ) from error


def _newest(history: "History", stage: str, projects: Collection[str] | None) -> "Manifest | None":
    """The newest result of a stage; a control of a round only where there is nothing else."""
    found = [
        manifest
        for manifest in history.manifests.values()
        if manifest.stage == stage
        and (projects is None or history.project(manifest.id) in projects)
    ]
    return max(
        found, key=lambda m: (not history.is_control(m.id), m.finished_at, m.id), default=None
    )


def _named(store: "Store", history: "History", subject: str, project: str | None) -> "Manifest":
    """An artifact that is there, also by a ref's last part, or one that was removed."""
    from recap_core.lineage.references import find_artifact

    for stone in history.stones.values():
        manifest = stone.manifest
        if subject in {manifest.id, manifest.id[:8], history.label(manifest.id)}:
            return manifest
    return store.manifest(find_artifact(store, subject, project=project))


def _state(store: "Store", manifest: "Manifest") -> str:
    """When it was last asked for."""
    entry = store.home / "index" / "stage-key" / manifest.stage_key
    if not entry.exists():
        return " It was removed since."
    used = datetime.fromtimestamp(entry.stat().st_mtime, UTC)
    return f" It was last asked for on {used:%Y-%m-%d %H:%M}."
