"""What a flow would do, found out by its own code and without doing it.

    with planning() as plan:
        run_round(config, 1, inputs)
    for planned in plan.stages: ...

Within it, every stage task looks into the store. It returns the artifact that is there, or notes
that the stage would run and returns a placeholder: an artifact of the right type whose id says that
it is only planned, and whose numbers are guesses. Refs that are set are kept in the plan, so that
code that reads them afterwards finds them. Nothing is written and Prefect is not asked.

Code that does something else than calling stages and setting refs asks :func:`is_planning` first.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from recap_core.config.base import Config
from recap_core.config.environment import recap_home
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.keys import Inputs, each_input, stage_key
from recap_core.stages.registry import STAGES, stage_call
from tasks.placeholders import is_planned, placeholder
from tasks.planning_store import PlanningStore
from tasks.refresh import is_refreshed

_plan: ContextVar["Plan | None"] = ContextVar("plan", default=None)


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a plan."""

    stage: str
    """Id in :data:`recap_core.stages.registry.STAGES`."""
    name: str
    """Name of its artifact."""
    key: str | None
    """Its stage key; None: not known before its inputs are made."""
    is_cached: bool
    """Whether it would be looked up only."""
    artifact: Artifact | None
    """What is in the store; also where it is to be made anew."""
    config: Config
    """Its settings."""
    inputs: Inputs
    """By role; those that are yet to be made are placeholders (:func:`is_planned`)."""
    is_refreshed: bool = False
    """Whether it exists, and is executed anew because that was asked for."""


class Plan:
    """Stages that a flow would run or look up, in order, each once."""

    def __init__(self) -> None:
        self.stages: list[PlannedStage] = []
        self.store = PlanningStore(recap_home())
        """The store as the flow sees it."""
        self._artifacts: dict[str, Artifact] = {}

    def add(self, stage: str, arguments: Mapping[str, Any]) -> Artifact:
        """Note a stage, and return its artifact, or a placeholder for it."""
        call = stage_call(STAGES[stage], arguments)
        key = stage_key(*call)
        if key in self._artifacts:
            return self._artifacts[key]
        awaits = any(is_planned(artifact) for _, artifact in each_input(call.inputs))
        found = None if awaits else self.store.find(*call)
        anew = found is not None and is_refreshed(stage, key)
        self.stages.append(
            PlannedStage(
                stage=stage,
                name=str(arguments["name"]),
                key=None if awaits else key,
                is_cached=found is not None and not anew,
                artifact=found,
                config=call.config,
                inputs=call.inputs,
                is_refreshed=anew,
            )
        )
        if found is None or anew:
            made = placeholder(call, key, name=str(arguments["name"]))
            self.store.expect(made)
        else:
            made = found
        self._artifacts[key] = made
        return made


@contextmanager
def planning() -> Generator[Plan]:
    """Let the code within it plan instead of act."""
    plan = Plan()
    token = _plan.set(plan)
    try:
        yield plan
    finally:
        _plan.reset(token)


def current_plan() -> Plan | None:
    """The plan that is being made; None: the code is to act."""
    return _plan.get()


def is_planning() -> bool:
    """Whether the code is to plan, and not to act."""
    return _plan.get() is not None
