"""Automations are kept, not piled up; that they act is shown in tests/stress/test_dead_runs.py."""

import pytest
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import EventTrigger

from deployments.automations import DeadRunRule, dead_run_automation, keep_automations
from recap_core.config.nights import NIGHT_STATES


@pytest.mark.usefixtures("prefect_api")
def test_an_automation_is_updated_at_every_start() -> None:
    """There is one of a name, with the newest rule."""
    keep_automations([dead_run_automation()])
    keep_automations([dead_run_automation(DeadRunRule(heartbeat_s=60))])

    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(dead_run_automation().name)
    assert len(known) == 1
    trigger = known[0].trigger
    assert isinstance(trigger, EventTrigger)
    assert trigger.within.total_seconds() == 185


def test_no_heartbeat_is_expected_after_an_end_of_any_name() -> None:
    """Also not after those of a night, which have names of their own."""
    trigger = dead_run_automation().trigger

    assert isinstance(trigger, EventTrigger)
    for name in ("Completed", "Crashed", "Suspended", *NIGHT_STATES):
        assert f"prefect.flow-run.{name}" in trigger.expect
    assert "prefect.flow-run.Running" not in trigger.expect
