"""``recap lineage``: where artifacts come from, and what became of them."""

from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from recap_core.lineage.artifacts import Artifact
    from recap_core.lineage.snapshot import Snapshot

lineage = typer.Typer(
    help="Where artifacts come from, what became of them, and what changed.", no_args_is_help=True
)

ANY = "Id, 6 digits of it or more, name-id8, project/robot/ref, or a ref's last part: current."
ProjectOption = Annotated[
    str | None,
    typer.Option(
        "--project", help="project or project/robot whose refs are meant; default: the only one."
    ),
]


@lineage.command(epilog="Example: recap lineage show current")
def show(
    artifact: Annotated[str, typer.Argument(help=ANY)],
    *,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """What an artifact is, and everything it was made from; of a removed one, what is left."""
    from deployments.cli import lineage_text
    from recap_core.errors import ArtifactNotFoundError
    from recap_core.lineage.references import find_removed

    snapshot = _snapshot()
    try:
        found = _find_in(snapshot, artifact, project)
    except ArtifactNotFoundError:
        stone = find_removed(snapshot.store, artifact)
        if stone is None:
            raise
        lineage_text.show_removed(snapshot, stone, json=json)
    else:
        lineage_text.show(snapshot, found, json=json)


@lineage.command(epilog="Example: recap lineage graph --mermaid > lineage.mmd")
def graph(
    artifact: Annotated[
        str | None, typer.Argument(help="Only its ancestors and descendants.")
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Every artifact, not only the rounds of each project.")
    ] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a mermaid flow chart.")] = False,
    project: Annotated[
        str | None,
        typer.Option("--project", help="Only this project or project/robot; default: all."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """The rounds of every project, or the lineage around one artifact."""
    from deployments.cli import lineage_text

    if artifact is not None:
        lineage_text.graph(*_find(artifact, project), mermaid=mermaid, json=json)
    elif everything or mermaid or json:
        lineage_text.graph(_snapshot(), None, project=project, mermaid=mermaid, json=json)
    else:
        lineage_text.rounds(_snapshot(), project)


@lineage.command(epilog="Example: recap lineage diff round-3 round-4")
def diff(
    old: Annotated[str, typer.Argument(help=ANY)],
    new: Annotated[str, typer.Argument(help="The same, of another artifact of that kind.")],
    *,
    labels: Annotated[
        bool, typer.Option(help="Compare labels frame by frame, which reads both datasets.")
    ] = True,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """What changed between two rounds, policies, datasets or label sets."""
    from deployments.cli import diff_text
    from recap_core.stages.lineage_diff import diff_lineage

    snapshot, first = _find(old, project)
    second = _find_in(snapshot, new, project)
    found = diff_lineage(snapshot, first, second, with_labels=labels)
    diff_text.tell(found, json=json)


@lineage.command(epilog="Example: recap lineage trace current")
def trace(
    artifact: Annotated[str, typer.Argument(help=ANY)],
    *,
    back: Annotated[
        bool, typer.Option("--back", help="What made it: the default for policies.")
    ] = False,
    forward: Annotated[
        bool, typer.Option("--forward", help="What it led to: the default for recordings.")
    ] = False,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """From a policy back to its recordings, or from a recording to what learned from it."""
    from deployments.cli import trace_text
    from recap_core.stages.trace import Direction
    from recap_core.stages.trace import trace as traced

    chosen: dict[tuple[bool, bool], Direction] = {
        (True, False): "back", (False, True): "forward", (True, True): "both"
    }  # fmt: skip
    snapshot, found = _find(artifact, project)
    trace_text.tell(traced(snapshot, found, chosen.get((back, forward))), json=json)


def _snapshot() -> "Snapshot":
    from deployments.cli.artifact_arguments import open_store
    from recap_core.lineage.snapshot import Snapshot

    return Snapshot(open_store())


def _find(reference: str, project: str | None) -> "tuple[Snapshot, Artifact]":
    snapshot = _snapshot()
    return snapshot, _find_in(snapshot, reference, project)


def _find_in(snapshot: "Snapshot", reference: str, project: str | None) -> "Artifact":
    from recap_core.lineage.references import find_artifact

    return find_artifact(snapshot.store, reference, project=project)
