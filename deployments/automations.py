"""Automations of a Prefect server: what it does by itself when a run says nothing any more.

A run's process that was killed cannot say so. While it lives it sends a heartbeat every
``HEARTBEAT_S`` seconds; when three have been missing, its run becomes ``Crashed``. Nothing is lost
by that: running it again goes on from what its stages have published.

Automations are known by their names; :func:`keep_automations` creates or updates them, so it may be
called at every start.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import BaseModel, ConfigDict, Field

from recap_core.config.nights import NIGHT_STATES

RUN_TAG: Final = "recap"
"""Tag of every run of our deployments; runs of others on the same server are left alone."""
HEARTBEAT: Final = "prefect.flow-run.heartbeat"
HEARTBEAT_S: Final = 30
"""Seconds between heartbeats: the shortest that Prefect allows (its default is 180)."""

_ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "TimedOut", "Cached")
_WAITS = ("Paused", "Suspended", "AwaitingInput", "Resuming", "AwaitingRetry", "Scheduled")


class DeadRunRule(BaseModel):
    """When a run counts as dead."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    heartbeat_s: int = Field(default=HEARTBEAT_S, ge=30)
    """Seconds between heartbeats; what ``PREFECT_FLOWS_HEARTBEAT_FREQUENCY`` is for the runs."""
    num_missing: int = Field(default=3, ge=2)
    """As many must be missing, so that a short restart of the server crashes nobody."""
    end_states: tuple[str, ...] = (*_ENDS, *NIGHT_STATES)
    """Names of states after which no heartbeat is due. A flow that ends in a state with a name of
    its own needs it here."""

    @property
    def silence_s(self) -> int:
        """Seconds without a heartbeat after which a run counts as dead."""
        return self.heartbeat_s * self.num_missing + 5


def dead_run_automation(rule: DeadRunRule = DeadRunRule()) -> AutomationCore:
    """Runs with the tag ``recap`` whose heartbeats stop become ``Crashed``.

    It cannot touch a run that has ended: without ``force`` the server refuses to turn a final state
    into ``Crashed``. That matters, because a run's last heartbeat may reach the server after its
    end, and then nothing follows it.
    """
    ends = {f"prefect.flow-run.{name}" for name in (*rule.end_states, *_WAITS)}
    crash: ActionTypes = ChangeFlowRunState(
        state=StateType.CRASHED,
        name="Crashed",
        force=False,
        message=(
            f"No sign of life for {rule.silence_s} s: its process was killed, or its machine is "
            "gone. Run it again: it goes on from there."
        ),
    )
    return AutomationCore(
        name="recap: crash dead runs",
        description=(
            f"A run that has sent no heartbeat for {rule.silence_s} s has no process any more."
        ),
        tags=["recap"],
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match=ResourceSpecification.model_validate(
                {"prefect.resource.id": ["prefect.flow-run.*"]}
            ),
            match_related=ResourceSpecification.model_validate(
                {
                    "prefect.resource.id": f"prefect.tag.{RUN_TAG}",
                    "prefect.resource.role": "tag",
                }
            ),
            for_each={"prefect.resource.id"},
            after={HEARTBEAT},
            expect={HEARTBEAT, *ends},
            threshold=1,
            within=timedelta(seconds=rule.silence_s),
        ),
        actions=[crash],
    )


def keep_automations(automations: Sequence[AutomationCore]) -> None:
    """Create those that the server does not know, and update those that differ.

    Args:
        automations: Known by their names.
    """
    with get_client(sync_client=True) as client:
        for wanted in automations:
            known = client.read_automations_by_name(wanted.name)
            for superfluous in known[1:]:
                client.delete_automation(superfluous.id)
            if known:
                client.update_automation(known[0].id, wanted)
            else:
                client.create_automation(wanted)
