"""One accelerator stage as a flow of its own, for a machine that has the accelerator."""

from typing import Any, Literal

from prefect import Task, flow
from prefect.runtime import flow_run

from tasks.elsewhere import decoded, on_accelerator
from tasks.evaluation import evaluate
from tasks.labelling import infer_values
from tasks.training import train_policy, train_value

STAGE_TASKS: dict[str, Task[..., Any]] = {
    "train_policy": train_policy,
    "train_value": train_value,
    "infer_values": infer_values,
    "evaluate": evaluate,
}


def _run_name() -> str:
    parameters = flow_run.parameters
    name = parameters["arguments"].get("name", "")
    return f"{parameters['stage']}-{name}".replace("_", "-")


@flow(name="accelerator-stage", flow_run_name=_run_name)
def accelerator_stage(
    stage: Literal["train_policy", "train_value", "infer_values", "evaluate"],
    arguments: dict[str, Any],
) -> str:
    """Run one stage that a flow on another machine has handed over; the id of its artifact.

    Not meant to be started by hand: the flows do, where ``RECAP_GPU_DEPLOYMENT`` is set.

    Args:
        stage: Which one.
        arguments: Its arguments as JSON: artifacts as ``{"artifact": id}``, settings as they are.
    """
    task = STAGE_TASKS[stage]
    with on_accelerator():
        made = task(**decoded(task.fn, arguments))
    return made.id
