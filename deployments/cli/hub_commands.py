"""``recap hub``: datasets, policies and value models on the Hugging Face hub.

Whatever takes time to import is imported inside the commands, so that help is instant.
"""

import json as json_format
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.lineage_commands import ANY, ProjectOption
from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from recap_core.hub.contents import HubContents

hub = typer.Typer(
    help="Datasets, policies and value models on the Hugging Face hub, with a card each.",
    no_args_is_help=True,
)

LicenseOption = Annotated[
    str | None,
    typer.Option(
        "--license",
        metavar="ID",
        help="One of the hub's, such as cc-by-4.0. Default: the card states none.",
    ),
]
OperatorsOption = Annotated[
    bool,
    typer.Option(
        "--with-operators", help="Name operators, who decided, and their notes. Default: nobody."
    ),
]


@hub.command(epilog="Example: recap hub card current --out CARD.md")
def card(  # noqa: PLR0913 - one parameter per option
    artifact: Annotated[str, typer.Argument(help=ANY)],
    *,
    repo: Annotated[
        str, typer.Option(metavar="OWNER/NAME", help="For the examples in it.")
    ] = "OWNER/NAME",
    license_: LicenseOption = None,
    with_operators: OperatorsOption = False,
    out: Annotated[Path | None, typer.Option(help="New file. Default: stdout.")] = None,
    project: ProjectOption = None,
) -> None:
    """Print the card that an upload would have: made from lineage alone, nothing is sent.

    Hosts and directories are never in it.
    """
    from deployments.cli.artifact_arguments import open_store
    from recap_core.errors import ConfigError
    from recap_core.hub.card_parts import CardOptions
    from recap_core.hub.contents import card as write_card
    from recap_core.hub.push import check_repo
    from recap_core.lineage.references import find_artifact
    from recap_core.lineage.snapshot import Snapshot

    check_repo(repo)
    store = open_store()
    found = find_artifact(store, artifact, project=project)
    text = write_card(Snapshot(store), found, CardOptions(repo, license_, with_operators))
    if out is None:
        sys.stdout.write(text)
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(f"{out} exists. Choose another file.") from error
    sys.stdout.write(f"{out}\n")


@hub.command(epilog="Example: recap hub push round-1-relabeled lab/fold-towels --private --dry-run")
def push(  # noqa: PLR0913 - one parameter per option
    artifact: Annotated[str, typer.Argument(help=ANY)],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Made if it does not exist.")],
    *,
    private: Annotated[
        bool, typer.Option("--private", help="Only its owner sees the new repository.")
    ] = False,
    license_: LicenseOption = None,
    with_operators: OperatorsOption = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Also remove what recap did not upload, or another kind."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be uploaded, and send nothing.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the folder there instead of sending anything."),
    ] = None,
    project: ProjectOption = None,
    json: JsonOption = False,
) -> None:
    """Upload an artifact with a card, in one commit; the same command again goes on.

    lerobot opens a dataset by its name, recap and openpi serve a policy. Hosts and directories are
    left out, also of artifact.json. Log in with 'hf auth login', or set HF_TOKEN.
    """
    from huggingface_hub.utils import disable_progress_bars

    from deployments.cli.artifact_arguments import open_store
    from recap_core.hub import push as pushing
    from recap_core.hub.card_parts import CardOptions
    from recap_core.hub.contents import hub_contents, write_folder
    from recap_core.lineage.references import find_artifact
    from recap_core.lineage.snapshot import Snapshot

    pushing.check_repo(repo)
    token = "" if dry_run or out is not None else pushing.find_token()  # before anything takes time
    store = open_store()
    found = find_artifact(store, artifact, project=project)
    options = CardOptions(repo, license_, with_operators)
    contents = hub_contents(Snapshot(store), found, options)
    if out is not None:
        write_folder(contents, out, store=store)
        _tell(contents, json, f"written to {out}", {"directory": str(out.absolute())})
    elif dry_run:
        _tell(contents, json, f"would go to {repo}; nothing was sent", {})
    else:
        with nullcontext() if sys.stderr.isatty() else disable_progress_bars():
            done = pushing.push(contents, repo, token=token, private=private, replace=replace)
        facts = {**done._asdict(), "removed": list(done.removed)}
        _tell(contents, json, f"{done.url} (commit {done.commit[:8]})", facts)
    if license_ is None and not json:
        sys.stderr.write("note: the card states no license; say which with --license\n")


def _tell(contents: "HubContents", json: bool, last: str, facts: dict[str, object]) -> None:  # noqa: FBT001 - as given
    from deployments.cli.lineage_text import size

    names = [*contents.texts, *contents.files]
    if json:
        known = {
            "artifact": contents.artifact.id,
            "repo_type": contents.repo_type,
            "tags": list(contents.tags),
            "files": len(names),
            "bytes": contents.num_bytes,
        }
        sys.stdout.write(json_format.dumps(known | facts, indent=2) + "\n")
        return
    by_part: dict[str, int] = {}
    for name in names:
        top, slash, _ = name.partition("/")
        by_part[top + slash] = by_part.get(top + slash, 0) + 1
    parts = [f"{part} ({number})" if part[-1] == "/" else part for part, number in by_part.items()]
    sys.stdout.write(
        f"{contents.label}: {len(names)} files, {size(contents.num_bytes)}\n"
        f"  {', '.join(parts)}\n  tags {', '.join(contents.tags)}\n{last}\n"
    )
