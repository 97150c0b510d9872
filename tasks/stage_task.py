"""What every stage's task has in common, in one decorator."""

import logging
from collections.abc import Callable, Mapping
from copy import copy
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, cast

from prefect import Task
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.utilities.callables import get_call_parameters

from recap_core.config.isolation import AcceleratorRuntime
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.keys import stage_key
from recap_core.stages.registry import STAGES, stage_call
from tasks.child import run_in_child
from tasks.planning import current_plan
from tasks.progress import TaskProgress
from tasks.refresh import is_refreshed, note_refreshed
from tasks.retries import is_transient
from tasks.stage_functions import call_stage
from tasks.stage_key import StageKey
from tasks.store import open_store
from tasks.summaries import summarized


class StageTask[**P, R](Task[P, R]):
    """The task of a stage: a Prefect task that a plan only asks what it would do."""

    if not TYPE_CHECKING:  # the signatures are those of Prefect's task

        def __call__(self, *args, **kwargs):  # noqa: ANN002, ANN003, ANN204
            """Run the stage as a task, or note it in the plan that is being made."""
            plan = current_plan()
            if plan is None:
                return super().__call__(*args, **kwargs)
            return plan.add(self.stage, get_call_parameters(self.fn, args, kwargs))

    @property
    def stage(self) -> str:
        """Id of the stage."""
        return cast("StageKey", self.cache_policy).stage

    def with_options(self, **options: Any) -> "StageTask[P, R]":  # noqa: ANN401 - Prefect's own
        """The same stage under other options."""
        changed = copy(self)
        vars(changed).update(vars(super().with_options(**options)))
        return changed


def stage_task[**P, R: Artifact](
    stage: str,
    *,
    tag: Literal["cpu", "gpu"],
    uses_accelerator: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Callable[[Callable[P, R]], StageTask[P, R]]:
    """Make a task of a stage from a function that has its signature and says what it does.

    The function's body is never run: the task calls the stage's own function
    (:data:`tasks.stage_functions.STAGE_FUNCTIONS`) with the same arguments, in a child process if
    ``runtime`` asks for one. Its run is named after the artifact; a failure that may pass is
    retried once, which is safe because artifacts appear by one rename; the store's key is the cache
    key; and the result is kept as readable JSON.

    Args:
        stage: Id in :data:`recap_core.stages.registry.STAGES`.
        tag: Which concurrency limits and workers it is for.
        uses_accelerator: Whether a call with these arguments uses one; None: always, if it has a
            ``runtime`` that knows child processes.
    """
    name = stage.replace("_", "-")

    def decorate(declared: Callable[P, R]) -> StageTask[P, R]:
        @wraps(declared)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            arguments = get_call_parameters(declared, args, kwargs)
            return cast("R", _execute(stage, arguments, uses_accelerator))

        return StageTask(
            run,
            name=name,
            task_run_name=f"{name}-{{name}}",
            tags=[tag],
            retries=1,
            retry_condition_fn=is_transient,
            cache_policy=StageKey(stage=stage),
            result_serializer="json",
        )

    return decorate


def _execute(
    stage: str,
    arguments: Mapping[str, Any],
    uses_accelerator: Callable[[Mapping[str, Any]], bool] | None,
) -> Artifact:
    """Call the stage's function, here or in a child process."""
    key = stage_key(*stage_call(STAGES[stage], arguments))
    is_anew = is_refreshed(stage, key)
    store = open_store(refresh=[stage] if is_anew else ())
    runtime = arguments.get("runtime")
    if (
        isinstance(runtime, AcceleratorRuntime)
        and runtime.isolation == "process"
        and (uses_accelerator is None or uses_accelerator(arguments))
    ):
        made = run_in_child(
            stage,
            arguments,
            runtime,
            store=store,
            is_refreshed=is_anew,
            progress=TaskProgress(),
            log=_run_log(),
        )
    else:
        made = call_stage(stage, arguments, store=store, progress=TaskProgress())
    note_refreshed(key)
    return summarized(made)


def _run_log() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """The log of the running task, which the UI shows."""
    try:
        return get_run_logger()
    except MissingContextError:  # called without an orchestrator
        return logging.getLogger(__name__)
