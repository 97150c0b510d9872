"""Tell suspended runs that their answer has come, if a server is there to be told."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from deployments.environment import configure_prefect
from deployments.server import BUSY_TIMEOUT_S, PrefectServer, require_answer
from recap_core.errors import ServerError
from recap_core.lineage.waiting import Waiting


def wake_runs(home: Path, waiting: Sequence[Waiting]) -> list[str]:
    """Make runs look again.

    Returns:
        Names of the runs that were woken; empty where no server runs: they find out later.
    """
    named, url = os.environ.get("PREFECT_API_URL"), None
    try:
        if named:
            require_answer(named)
    except ServerError:  # the decision is in the store, whoever can be told
        return []
    if not named:
        url = _server_of(home)
        if url is None:
            return []
    configure_prefect(home, url)
    from flows.people import wake

    return wake(waiting)


def _server_of(home: Path) -> str | None:
    """Address of the store's own server; None if it does not run."""
    try:
        url = json.loads((home / "server.json").read_text(encoding="utf-8"))["url"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    server = PrefectServer(url, is_shared=True)
    return url if server.is_healthy(timeout_s=BUSY_TIMEOUT_S) else None
