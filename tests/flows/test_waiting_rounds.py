"""Rounds that wait for episodes, and nights while a round waits for a person, on a real server."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Suspended

from flows.forms import IngestChoice
from flows.ingest import ingest_recordings
from flows.iteration import recap_iteration
from flows.nightly import nightly
from recap_core.config.flows import ProjectConfig
from recap_core.lineage.store import Store
from recap_core.lineage.waiting import Waiting, all_waiting, note_waiting
from tests.flows.nights import arrived, night, with_inbox
from tests.judged_policies import make_policy

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def project(recap_home: Path, inbox: Path, small_project: ProjectConfig) -> str:
    """A project with a policy that learns from its inbox."""
    project = with_inbox(small_project, "waits", inbox)
    store = Store(recap_home)
    store.set_ref(f"{project}/start", make_policy(store, "start"))
    return project


def test_a_round_waits_until_ingest_brings_enough(
    recap_home: Path, inbox: Path, project: str
) -> None:
    """It is suspended, woken by the flow that takes sessions in, and then looks for its inputs."""
    parameters = {"project": project, "this_round": {"wait_for_episodes": 2}}
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(recap_iteration), "waits")
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        with pytest.raises(Pause):
            run_flow(recap_iteration, flow_run=run, parameters=parameters)
        assert client.read_flow_run(run.id).state_name == "Suspended"
        ingest_recordings(project, sessions=IngestChoice(quiet_s=0))
        assert client.read_flow_run(run.id).state_name == "Suspended"

        arrived(inbox, 2)
        ingest_recordings(project, sessions=IngestChoice(quiet_s=0))

        run = client.read_flow_run(run.id)
        assert run.state is not None
        assert run.state.is_scheduled()
        ended = run_flow(recap_iteration, flow_run=run, parameters=parameters, return_type="state")
    assert isinstance(ended, State)
    assert "waits/sim-aloha/current" in (ended.message or "")  # past the wait
    assert all_waiting(recap_home) == []


def test_a_round_in_the_foreground_does_not_wait(project: str) -> None:
    """It begins, and says that nothing was recorded."""
    state = recap_iteration(project, this_round={"wait_for_episodes": 2}, return_state=True)

    assert state.is_failed()
    assert "waits/sim-aloha" in (state.message or "")


def test_a_night_begins_no_round_while_one_waits_for_a_person(
    recap_home: Path, inbox: Path, project: str
) -> None:
    """Else every night would leave one more run that asks the same question."""
    arrived(inbox, 2)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(nightly, state=Suspended())
        now = datetime.now(UTC)
        note = Waiting(
            run=str(run.id),
            run_name="night-1",
            waits_for="approval",
            project=project,
            policy=Store(recap_home).get(f"{project}/start").id,
            since=now,
            until=now + timedelta(days=7),
        )
        note_waiting(recap_home, note)

        held_up = night(project)

        assert held_up.name == "Nothing new"
        assert "night-1 waits for your word" in (held_up.message or "")
        assert [one.num_episodes for one in held_up.result().recordings] == [2]
        client.set_flow_run_state(run.id, Cancelled(), force=True)
    assert "waits for your word" not in (night(project).message or "")
    assert all_waiting(recap_home) == []
