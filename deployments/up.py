"""All flows, served to the Prefect UI."""

from typing import cast

from prefect import serve
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from flows.bootstrap import bootstrap
from flows.iteration import recap_iteration
from flows.loop import recap_loop
from flows.stage3 import stage3
from recap_core.config.flows import ProjectConfig


def serve_all(project: ProjectConfig) -> None:
    """Serve every flow until interrupted; its form in the UI is filled in with ``project``.

    One run at a time: a round uses all of a machine's accelerator.
    """
    parameters = {"config": project.model_dump(mode="json")}
    deployments = [
        cast(
            "RunnerDeployment",  # not a coroutine: nothing here is async
            flow.to_deployment(
                project.project,
                parameters=parameters,
                description=flow.description,
                entrypoint_type=EntrypointType.MODULE_PATH,
            ),
        )
        for flow in (bootstrap, recap_iteration, recap_loop, stage3)
    ]
    serve(*deployments, limit=1, print_starting_message=False)
