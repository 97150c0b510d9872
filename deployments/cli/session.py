"""A command that runs flows: its server and Prefect's settings."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from deployments.environment import configure_prefect, flush_prefect
from deployments.server import LocalServer, prefect_server


@contextmanager
def prefect_session(
    home: Path, console: Console, *, verbose: bool, preferred_port: int = 0
) -> Generator[Callable[[], None]]:
    """Start or find a server and configure Prefect for it; yields what waits until it answers.

    Inside the block Prefect may be imported at once, while the server still starts.

    Raises:
        ServerError: If the server does not start, or one that is named does not answer.
    """
    home.mkdir(parents=True, exist_ok=True)
    began = datetime.now(UTC)
    with prefect_server(home, preferred_port=preferred_port) as server:
        configure_prefect(home, server and server.address(), verbose=verbose)
        try:
            yield lambda: _wait(server, console, began)
        finally:
            if "prefect" in sys.modules:
                flush_prefect()


def _wait(server: LocalServer | None, console: Console, began: datetime) -> None:
    if server is None:
        return
    with console.status("Starting the Prefect server"):
        is_new = not server.wait().is_shared
    if is_new:
        from deployments.stale_runs import crash_stale_runs

        crash_stale_runs(before=began)
