"""One accelerator stage as a flow of its own, for a machine that has the accelerator."""

from typing import Any, Literal

from prefect import Task, flow
from prefect.runtime import flow_run

from tasks.collection import collect
from tasks.elsewhere import decoded, on_accelerator
from tasks.evaluation import evaluate
from tasks.labelling import infer_values
from tasks.refresh import refreshing
from tasks.training import train_policy, train_value

type AcceleratorStage = Literal[
    "collect", "train_policy", "train_value", "infer_values", "evaluate"
]
STAGE_TASKS: dict[AcceleratorStage, Task[..., Any]] = {
    "collect": collect,
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
    stage: AcceleratorStage, arguments: dict[str, Any], *, refresh: bool = False
) -> str:
    """Run one stage that a flow on another machine has handed over; the id of its artifact.

    Not meant to be started by hand: the flows do, where ``RECAP_GPU_DEPLOYMENT`` is set.

    Args:
        stage: Which one.
        arguments: Its arguments as JSON: artifacts as ``{"artifact": id}``, settings with the name
            of their class.
        refresh: Run it although its result is there.
    """
    task = STAGE_TASKS[stage]
    with on_accelerator(), refreshing([stage] if refresh else []):
        made = task(**decoded(stage, arguments))
    return made.id
