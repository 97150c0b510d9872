"""``recap bundle``: artifacts from one machine's store to another's."""

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.lineage_commands import ANY, ProjectOption
from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from recap_core.lineage.artifacts import Artifact
    from recap_core.lineage.store import Store
    from recap_core.lineage.transfer import Imported

bundle = typer.Typer(
    help="Artifacts to and from another machine: recordings to the GPU, policies back.",
    no_args_is_help=True,
)


@bundle.command(epilog="Example: recap bundle export current /mnt/usb/policy --only")
def export(  # noqa: PLR0913 - one parameter per option
    artifacts: Annotated[list[str], typer.Argument(help=ANY)],
    target: Annotated[
        Path, typer.Argument(help="Directory, which can be added to; or a new name.tar.")
    ],
    *,
    with_ancestors: Annotated[
        bool,
        typer.Option("--with-ancestors/--only", help="Also everything that they were made from."),
    ] = False,
    project: ProjectOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a tar file.")] = False,
    json: JsonOption = False,
) -> None:
    """Write artifacts into a bundle; the same command again goes on after an interruption."""
    from deployments.cli.artifact_arguments import open_store
    from deployments.cli.lineage_text import size
    from deployments.cli.quantities import count_text
    from recap_core.lineage.references import find_artifact
    from recap_core.lineage.snapshot import Snapshot
    from recap_core.lineage.transfer import export_directory, export_tar
    from recap_core.progress import Terminal

    store = open_store()
    found = [find_artifact(store, reference, project=project) for reference in artifacts]
    snapshot, progress = Snapshot(store), Terminal()
    if target.suffix == ".tar":
        done = export_tar(
            snapshot, found, target, with_ancestors=with_ancestors, overwrite=force,
            progress=progress,
        )  # fmt: skip
    else:
        done = export_directory(
            snapshot, found, target, with_ancestors=with_ancestors, progress=progress
        )
    contents = done.contents
    if json:
        facts = {
            "bundle": str(target.absolute()),
            "artifacts": [artifact.id for artifact in contents.artifacts],
            "written": done.num_copied,
            "bytes": done.num_bytes,
            "elsewhere": contents.elsewhere,
        }
        _print(json_format.dumps(facts, indent=2))
        return
    _print(
        f"bundle {target}: {count_text(len(contents.artifacts), 'artifact')}, {done.num_copied} "
        f"written now ({size(done.num_bytes)})"
    )
    if contents.elsewhere:
        verb = "is" if len(contents.elsewhere) == 1 else "are"
        why = "not in this store either" if with_ancestors else "--with-ancestors takes them along"
        _print(
            f"  {count_text(len(contents.elsewhere), 'artifact')} that they were made from {verb} "
            f"not in it; {why}"
        )
    _print(f"  on the other machine: recap bundle import {target.name}")


@bundle.command("import", epilog="Example: recap bundle import ./policy --ref demo/aloha/current")
def import_(
    source: Annotated[Path, typer.Argument(help="A bundle: directory or tar file.")],
    *,
    ref: Annotated[
        str | None,
        typer.Option("--ref", help="project/robot/name to point to the one artifact exported."),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            "--project", help="project/robot whose next round takes the recordings in the bundle."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Publish a bundle's artifacts here, verified; the same command again goes on."""
    from rich.console import Console

    from deployments.cli.artifact_arguments import open_store
    from deployments.cli.lineage_text import size
    from deployments.cli.quantities import count_text
    from recap_core.lineage.refs import check_ref
    from recap_core.lineage.transfer import import_bundle
    from recap_core.progress import Terminal

    for given in filter(None, (ref, project and f"{project}/x")):
        check_ref(given)  # before anything is copied
    store = open_store()
    console = Console(stderr=True)

    def wait(sentence: str) -> None:
        console.print(sentence, soft_wrap=True, markup=False, highlight=False)

    done = import_bundle(source, store, progress=Terminal(console), on_wait=wait)
    refs = _set_refs(store, done, ref, project)
    if json:
        facts = {
            "new": [artifact.id for artifact in done.new],
            "known": [artifact.id for artifact in done.known],
            "roots": [artifact.id for artifact in done.roots],
            "bytes": done.num_bytes,
            "refs": refs,
        }
        _print(json_format.dumps(facts, indent=2))
        return
    _print(
        f"{count_text(len(done.new), 'artifact')} published ({size(done.num_bytes)} copied), "
        f"{len(done.known)} here already"
    )
    for artifact in done.roots:
        _print(f"  {artifact.kind.replace('_', ' ')} {artifact.name}-{artifact.id[:8]}")
    for name, id_ in refs.items():
        _print(f"  {name} -> {id_[:8]}")
    if project is not None and ref is None and not refs:
        _print(
            f"  no recording in it, so nothing for the next round of {project}; --ref "
            f"{project}/NAME points to a policy"
        )


def _set_refs(
    store: "Store", done: "Imported", ref: str | None, project: str | None
) -> dict[str, str]:
    from recap_core.errors import ArtifactError

    wanted: dict[str, Artifact] = {}
    if ref is not None:
        if len(done.roots) != 1:
            names = ", ".join(f"{a.name}-{a.id[:8]}" for a in done.roots)
            raise ArtifactError(
                f"--ref names one artifact, but the bundle was made for {len(done.roots)} "
                f"({names}); they are in the store now, so point to one with: recap promote, or "
                "export it alone"
            )
        wanted[ref] = done.roots[0]
    if project is not None:
        recordings = [a for a in (*done.new, *done.known) if a.kind == "recording"]
        wanted |= {f"{project}/recording-{a.id[:8]}": a for a in recordings}
    from recap_core.lineage.decisions import person

    for name, artifact in wanted.items():
        store.set_ref(name, artifact, by=person())
    return {name: artifact.id for name, artifact in wanted.items()}


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
