"""All flows, served to the Prefect UI."""

import asyncio
import signal
from typing import cast

from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType

from flows.bootstrap import bootstrap
from flows.evaluation import evaluate_only
from flows.ingest import ingest_recordings
from flows.iteration import recap_iteration
from flows.loop import recap_loop
from flows.relabeling import relabel_only
from flows.stage3 import stage3
from recap_core.config.flows import ProjectConfig
from recap_core.lineage.project_files import project_name

TOLD_AGAIN_AFTER_S = 15.0


class _Runner(Runner):
    """A runner that ends in the same orderly way on SIGTERM as on Ctrl-C."""

    def handle_sigterm(self, *args: object, **kwargs: object) -> None:
        """Leave by the way of Ctrl-C; Prefect's own handler leaves a coroutine behind."""
        del args, kwargs
        signal.raise_signal(signal.SIGINT)


def serve_all(project: ProjectConfig) -> None:
    """Serve every flow until interrupted; its form in the UI is filled in with ``project``.

    One run at a time: a round uses all of a machine's accelerator.
    """
    runner = _Runner(name="recap", limit=1)
    for deployment in deployments(project):
        runner.add_deployment(deployment)
    asyncio.run(_serve(runner))


async def _serve(runner: Runner) -> None:
    """Serve until Ctrl-C, then let the runner end in order.

    Prefect's runner may lose a cancellation that reaches it while a run has just ended, and would
    then serve for ever. So it is told again.
    """
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    serving = asyncio.ensure_future(runner.start())
    waiting = asyncio.ensure_future(interrupted.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    while not serving.done():
        serving.cancel()
        await asyncio.wait({serving}, timeout=TOLD_AGAIN_AFTER_S)
    if not serving.cancelled():
        serving.result()


def deployments(project: ProjectConfig) -> list[RunnerDeployment]:
    """One deployment per flow, named after the project."""
    name = project_name(project)
    return [
        cast(
            "RunnerDeployment",  # not a coroutine: nothing here is async
            flow.to_deployment(
                name.replace("/", "-"),
                parameters={"project": name},
                description=flow.description,
                entrypoint_type=EntrypointType.MODULE_PATH,
            ),
        )
        for flow in (
            recap_iteration,
            recap_loop,
            bootstrap,
            stage3,
            relabel_only,
            evaluate_only,
            ingest_recordings,
        )
    ]
