"""Runners of served deployments: they start runs as processes until they are interrupted."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from typing import NamedTuple

import httpx
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner

from deployments.server import LocalServer

logger = logging.getLogger(__name__)

TOLD_AGAIN_AFTER_S = 15.0
SERVER_CHECK_S = 1.0
RETRY_AFTER_S = 3.0


class Group(NamedTuple):
    """Deployments whose runs share a limit."""

    name: str
    deployments: Sequence[RunnerDeployment]
    limit: int
    """Runs at once."""


class _Runner(Runner):
    """A runner that ends in the same orderly way on SIGTERM as on Ctrl-C."""

    def handle_sigterm(self, *args: object, **kwargs: object) -> None:
        """Leave by the way of Ctrl-C; Prefect's own handler leaves a coroutine behind."""
        del args, kwargs
        signal.raise_signal(signal.SIGINT)


async def serve(groups: Sequence[Group], server: LocalServer | None) -> None:
    """Serve until Ctrl-C, then let the runners, and their runs, end in order.

    Args:
        groups: What is served.
        server: The server to start again should it end by itself; None if somebody else minds it.
    """
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    minding = asyncio.ensure_future(_mind(server))
    try:
        await asyncio.gather(*(_serve_group(group, interrupted) for group in groups))
    finally:
        minding.cancel()


async def _serve_group(group: Group, interrupted: asyncio.Event) -> None:
    """Serve a group until interrupted; a runner that has lost the server is replaced."""
    while not interrupted.is_set():
        try:
            await _run(group, interrupted)
        except* (httpx.HTTPError, RuntimeError, OSError) as errors:
            logger.warning("Runs are not started for the moment: %s", errors.exceptions[0])
            await asyncio.sleep(RETRY_AFTER_S)


async def _run(group: Group, interrupted: asyncio.Event) -> None:
    """Run until interrupted, or until the runner gives up.

    Prefect's runner may lose a cancellation that reaches it while a run has just ended, and would
    then serve for ever. So it is told again.
    """
    # Schedules stay active while nothing is served: a night that was missed is caught up for.
    runner = _Runner(name=f"recap-{group.name}", limit=group.limit, pause_on_shutdown=False)
    for deployment in group.deployments:
        await runner.aadd_deployment(deployment)
    serving = asyncio.ensure_future(runner.start())
    waiting = asyncio.ensure_future(interrupted.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    while not serving.done():
        serving.cancel()
        await asyncio.wait({serving}, timeout=TOLD_AGAIN_AFTER_S)
    if not serving.cancelled():
        serving.result()


async def _mind(server: LocalServer | None) -> None:
    """Start the server again whenever it has ended by itself."""
    while server is not None:
        await asyncio.sleep(SERVER_CHECK_S)
        await asyncio.to_thread(server.revive)
