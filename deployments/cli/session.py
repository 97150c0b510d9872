"""A command that runs flows: its server and Prefect's settings."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from deployments.environment import configure_prefect, flush_prefect
from deployments.server import prefect_server


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
    with prefect_server(home, preferred_port=preferred_port) as server:
        configure_prefect(home, server and server.address(), verbose=verbose)

        def wait() -> None:
            if server is not None:
                with console.status("Starting the Prefect server"):
                    server.wait()

        try:
            yield wait
        finally:
            if "prefect" in sys.modules:
                flush_prefect()
