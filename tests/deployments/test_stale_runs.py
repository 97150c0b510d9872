"""Runs of killed processes do not stay "Running" for ever."""

from datetime import UTC, datetime, timedelta

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Running

from deployments.stale_runs import crash_stale_runs

pytestmark = pytest.mark.usefixtures("prefect_api")


@flow
def endless() -> None:
    """A flow that is never really run here."""


def test_only_runs_from_before_the_servers_start_are_marked() -> None:
    """A run that began since then may well be alive."""
    with get_client(sync_client=True) as client:
        old = client.create_flow_run(endless, state=Running())
        assert old.created is not None
        started = old.created + timedelta(microseconds=1)
        new = client.create_flow_run(endless, state=Running())

        assert crash_stale_runs(before=started) >= 1

        assert client.read_flow_run(old.id).state_name == "Crashed"
        assert client.read_flow_run(new.id).state_name == "Running"
        crash_stale_runs(before=datetime.now(UTC))
        assert client.read_flow_run(new.id).state_name == "Crashed"
