"""Which failures are worth a second attempt."""

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun


def is_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a task failed for a reason that may be gone: the operating system refused something.

    Everything raised on purpose (``RecapError``) and every bug fails again in the same way.
    """
    del task, run
    return isinstance(state.result(raise_on_failure=False), OSError)
