"""``recap doctor machine``: whether the nights of this machine's projects can run."""

import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.doctor_answer import Examined, answer, finding
from deployments.cli.doctor_training import doctor
from deployments.cli.options import JsonOption
from recap_core.errors import ConfigError

if TYPE_CHECKING:
    from deployments.server import PrefectServer
    from recap_core.config.flows import ProjectConfig
    from recap_core.data.checks.finding import Finding

QUIET_S = 60.0
"""Seconds, as flows have it: a session that changed since is still being copied."""
_LITTLE_GB = 10.0
_AGAIN = "start recap up again, or run recap deploy again"


@doctor.command(epilog="Example: recap doctor machine --json")
def machine(
    *,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of the Prefect UI, as recap up has it.")
    ] = 4200,
    pages_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the pages.")] = 4201,
    json: JsonOption = False,
) -> None:
    """Check what flows need: store, saved projects, inboxes, ports, server, deployments."""
    from recap_core.config.environment import recap_home

    home = recap_home()
    projects, damaged = _projects(home)
    findings = [
        *damaged,
        *_store(home),
        *_inboxes(projects, home),
        *_server(projects, home, port, pages_port),
    ]
    examined = Examined(
        f"Flows with {home}", {"home": str(home)}, "can_run", "A night would fail on this"
    )
    answer(findings, examined, json=json)


def _projects(home: Path) -> "tuple[list[ProjectConfig], list[Finding]]":
    """Saved projects that can be read, and what is wrong with the others."""
    from recap_core.data.checks.finding import Place, from_error
    from recap_core.lineage.project_files import list_projects, load_project

    projects: list[ProjectConfig] = []
    damaged: list[Finding] = []
    for name in list_projects(home):
        try:
            projects.append(load_project(home, name))
        except ConfigError as error:
            damaged.append(from_error(error, check="project", where=Place(file=name)))
    if not projects and not damaged:
        damaged.append(
            finding(
                "warning", "project", str(home), "no project has settings here",
                "flows are told a project's name and read its settings",
                "is RECAP_HOME right? Else: recap up --config recap.yaml",
            )
        )  # fmt: skip
    return projects, damaged


def _store(home: Path) -> "Generator[Finding]":
    there = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield finding(
            "error", "store", str(there), "it may not be written", "every stage publishes there",
            "run flows as its owner, or set RECAP_HOME",
        )  # fmt: skip
    free = shutil.disk_usage(there).free / 1e9
    if free < _LITTLE_GB:
        yield finding(
            "warning", "disk", str(there), f"{free:.1f} GB are free",
            f"less than {_LITTLE_GB:g} GB; recap doctor train says what a training takes",
            "free space; recap gc says what may go",
        )  # fmt: skip
    else:
        rule = "recap doctor train says what a training takes"
        yield finding("note", "disk", str(there), f"{free:.1f} GB are free", rule, "")


def _inboxes(projects: "Sequence[ProjectConfig]", home: Path) -> "Generator[Finding]":
    from recap_core.stages.check_inbox import check_inbox

    for inbox in sorted({one.iteration.inbox for one in projects if one.iteration.inbox}):
        path = Path(inbox).expanduser().absolute()
        yield from check_inbox(path, home, now_s=time.time(), quiet_s=QUIET_S)


def _server(
    projects: "Sequence[ProjectConfig]", home: Path, port: int, pages_port: int
) -> "Generator[Finding]":
    """Ports of ``recap up``, the server that flows would talk to, and what it knows."""
    from deployments.server import BUSY_TIMEOUT_S, LocalServer, PrefectServer

    own = LocalServer(home).running()
    named = os.environ.get("PREFECT_API_URL")
    url = named.removesuffix("/").removesuffix("/api") if named else own
    yield from _ports({port: "the Prefect UI", pages_port: "the pages"}, own)
    if url is None:
        yield finding(
            "note", "server", str(home), "no Prefect server runs for this store",
            "recap up starts one; deployments are looked at while it runs", "",
        )  # fmt: skip
        return
    server = PrefectServer(url, is_shared=True)
    if not server.is_healthy(timeout_s=BUSY_TIMEOUT_S):
        yield finding(
            "error", "server", url, "no Prefect server answers there",
            f"{'PREFECT_API_URL' if named else 'server.json'} names it",
            "start it; or unset PREFECT_API_URL, so that recap starts one",
        )  # fmt: skip
        return
    yield from _deployments(projects, home, server, is_own=named is None)


def _ports(wanted: dict[int, str], own: str | None) -> "Generator[Finding]":
    """Whether ``recap up`` would get the ports that it prefers, or has them."""
    for port, use in wanted.items():
        where = f"127.0.0.1:{port}"
        if _is_free(port):
            continue
        is_ours = own is not None and own.endswith(f":{port}")
        if is_ours or (own is not None and _serves_pages(port)):
            whose = "this store" if is_ours else "a recap up"
            yield finding("note", "ports", where, f"{use} of {whose}", "recap up runs", "")
        else:
            yield finding(
                "warning", "ports", where, "another program has it",
                f"{use} would get another port, which recap up prints",
                "end that program, or give recap up --port and --pages-port",
            )  # fmt: skip


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _serves_pages(port: int) -> bool:
    """Whether the pages of a ``recap up`` answer there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            return answer.headers.get("Server", "").strip() == "recap"
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _deployments(
    projects: "Sequence[ProjectConfig]", home: Path, server: "PrefectServer", *, is_own: bool
) -> "Generator[Finding]":
    from deployments.environment import configure_prefect
    from recap_core.lineage.project_files import project_name

    configure_prefect(home, server.url if is_own else None, verbose=True)  # writes no log file
    import httpx

    from deployments.stale_deployments import server_state

    try:
        state = server_state([project_name(one) for one in projects])
    except httpx.HTTPError as error:
        yield finding(
            "error", "server", server.url, f"it refuses to answer ({str(error).splitlines()[0]})",
            "flows ask it all the time", "does it want PREFECT_API_AUTH_STRING?",
        )  # fmt: skip
        return
    installed = version("prefect")
    differs = state.version != installed
    yield finding(
        "warning" if differs else "note", "server", server.url, f"Prefect {state.version}",
        f"this machine has Prefect {installed}",
        "install one version everywhere" if differs else "",
    )  # fmt: skip
    for names, value, rule, fix in (
        (state.outdated, "not as the installed flows are", "the server checks forms by it", _AGAIN),
        (state.orphaned, "its project has no settings here", "its runs fail",
         "save the project, or delete the deployment in the UI"),
        (state.missing, "the server does not have it", "every project has every flow", _AGAIN),
        (state.idle, "nobody takes its runs", "recap up or a worker of its pool does",
         "start recap up, or a worker: prefect worker start --pool cpu"),
    ):  # fmt: skip
        if names:
            found = finding("warning", "deployments", names[0], value, rule, fix)
            yield found.model_copy(update={"num_places": len(names)})
