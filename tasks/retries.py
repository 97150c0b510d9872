"""Which failures are worth a second attempt."""

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from recap_core.errors import StageProcessError, StageTimeoutError


def is_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a task failed for a reason that may be gone.

    The operating system refused something, or somebody killed the stage's process. Everything
    raised on purpose (other ``RecapError``) and every bug fails again in the same way.
    """
    del task, run
    error = state.result(raise_on_failure=False)
    if isinstance(error, StageTimeoutError):
        return False
    return isinstance(error, OSError | StageProcessError)
