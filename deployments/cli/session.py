"""A command that runs flows: its server and Prefect's settings."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from deployments.environment import configure_prefect, flush_prefect
from deployments.server import LocalServer, prefect_server


class Session:
    """A server that is starting, or has started; calling it waits until the server answers.

    Attributes:
        server: The home's own; None where ``PREFECT_API_URL`` names another.
    """

    def __init__(self, server: LocalServer | None, console: Console) -> None:
        self.server = server
        self._console = console
        self._began = datetime.now(UTC)

    def __call__(self) -> None:
        """Wait until the server answers; runs that an earlier one left unfinished are marked."""
        if self.server is None:
            return
        with self._console.status("Starting the Prefect server"):
            is_new = not self.server.wait().is_shared
        if is_new:
            from deployments.stale_runs import crash_stale_runs

            crash_stale_runs(before=self._began)


@contextmanager
def prefect_session(
    home: Path, console: Console, *, verbose: bool, preferred_port: int = 0
) -> Generator[Session]:
    """Start or find a server and configure Prefect for it; yields what waits until it answers.

    Inside the block Prefect may be imported at once, while the server still starts.

    Raises:
        ServerError: If the server does not start, or one that is named does not answer.
    """
    home.mkdir(parents=True, exist_ok=True)
    with prefect_server(home, preferred_port=preferred_port) as server:
        session = Session(server, console)
        configure_prefect(home, server and server.address(), verbose=verbose)
        try:
            yield session
        finally:
            if "prefect" in sys.modules:
                flush_prefect()
