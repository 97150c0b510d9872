"""Runs that wait for a person or for episodes, on a real server.

A run is executed in this process, as the runner's process would: from its deployment's flow run,
anew after every resume.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flow_runs import resume_flow_run
from typer.testing import CliRunner

from deployments.cli.main import app
from flows.people import resume_waiting, settled, wait_for_approval, wait_for_episodes
from recap_core.config.gate import GateDecision
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.decisions import promote
from recap_core.lineage.store import Store
from recap_core.lineage.waiting import all_waiting, note_waiting
from tasks.store import open_store
from tests.judged_policies import PROJECT, make_policy

pytestmark = pytest.mark.usefixtures("prefect_api")
DECISION = GateDecision(verdict="candidate", reasons=("It is 12 points better.",))


@flow
def asks(policy: str, timeout_s: float = 3600) -> GateDecision:
    """A round's end."""
    chosen = open_store().get(policy)
    assert isinstance(chosen, PolicyCheckpoint)
    return settled(DECISION, wait_for_approval(PROJECT, chosen, DECISION, timeout_s=timeout_s))


@flow
def collects(num_episodes: int) -> str:
    """A round's beginning; a file stands for an episode."""

    def count_new() -> int:
        return len(list(open_store().home.glob("episode-*")))

    found = wait_for_episodes(PROJECT, num_episodes, count_new=count_new)
    return f"{found.outcome} {found.num_episodes}"


@flow
def within(policy: str) -> GateDecision:
    """A loop whose round is a subflow."""
    return asks(policy)


@pytest.fixture
def store(recap_home: Path) -> Store:
    store = Store(recap_home)
    store.set_ref(f"{PROJECT}/current", make_policy(store, "old"))
    store.set_ref(f"{PROJECT}/candidate", make_policy(store, "new"))
    return store


def candidate(store: Store) -> PolicyCheckpoint:
    found = store.get_ref(f"{PROJECT}/candidate")
    assert isinstance(found, PolicyCheckpoint)
    return found


def current(store: Store) -> str:
    found = store.get_ref(f"{PROJECT}/current")
    assert found is not None
    return found.name


class Run:
    """A flow run of a deployment."""

    def __init__(self, of: Flow, **parameters: object) -> None:
        self._flow = of
        with get_client(sync_client=True) as client:
            deployment = client.create_deployment(client.create_flow(of), f"{of.name}-test")
            run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        self.id: UUID = run.id

    def execute(self) -> State:
        """Run until it ends or waits."""
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(self.id)
            try:
                ended = run_flow(
                    self._flow, flow_run=run, parameters=run.parameters, return_type="state"
                )
            except Pause:  # where the runner's process would end
                ended = client.read_flow_run(self.id).state
        assert isinstance(ended, State)
        return ended

    def resume(self, **answer: str) -> State:
        """Click, and run again."""
        resume_flow_run(self.id, run_input=answer)
        return self.execute()


def test_a_click_promotes(store: Store) -> None:
    """The run is suspended, not blocked; then the policy is current, with name and note."""
    run = Run(asks, policy=candidate(store).id)
    assert run.execute().name == "Suspended"
    [note] = all_waiting(store.home, PROJECT)
    assert (note.run, note.policy) == (str(run.id), candidate(store).id)

    ended = run.resume(decision="approve", note="steady grip", by="ana")

    decision = ended.result()
    assert decision.verdict == "promoted"
    assert decision.reasons[0].startswith("Promoted by ana on ")
    assert decision.reasons[1:] == DECISION.reasons
    assert current(store) == "new"
    assert all_waiting(store.home) == []


def test_a_rejection_keeps_the_old_policy(store: Store) -> None:
    """An answer that is none is refused by the server, and the run goes on waiting."""
    run = Run(asks, policy=candidate(store).id)
    run.execute()
    with pytest.raises(RuntimeError, match="'perhaps' is not one of"):
        resume_flow_run(run.id, run_input={"decision": "perhaps"})
    assert run.resume(decision="look again").name == "Suspended"

    decision = run.resume(decision="reject", note="drops it").result()

    assert decision.verdict == "kept"
    assert '"drops it"' in decision.reasons[0]
    assert current(store) == "old"


def test_the_terminal_decides_too(store: Store) -> None:
    """``recap promote`` wakes the run, which finds the word in the store."""
    run = Run(asks, policy=candidate(store).id)
    run.execute()

    promote(store, PROJECT, candidate(store), by="bo", note="by hand")
    names = resume_waiting(PROJECT)

    assert len(names) == 1
    decision = run.execute().result()
    assert (decision.verdict, decision.reasons[0].split(" on ")[0]) == (
        "promoted",
        "Promoted by bo",
    )


def test_nobody_decides_in_time(store: Store) -> None:
    """Woken when the time is over, the run completes; the policy stays a candidate."""
    run = Run(asks, policy=candidate(store).id)
    run.execute()
    assert resume_waiting(PROJECT) == []
    [note] = all_waiting(store.home)
    past = datetime.now(UTC) - timedelta(seconds=1)
    note_waiting(store.home, note.model_copy(update={"until": past}))

    assert resume_waiting(PROJECT) == [note.run_name]

    decision = run.execute().result()
    assert decision.verdict == "candidate"
    assert decision.reasons[0].startswith("Nobody decided within ")
    assert current(store) == "old"


def test_collection_waits_for_enough_episodes(store: Store) -> None:
    """Woken by the count, not before; or a person says to go on."""
    run, other = Run(collects, num_episodes=2), Run(collects, num_episodes=9)
    assert run.execute().name == other.execute().name == "Suspended"
    for index in range(2):
        (store.home / f"episode-{index}").touch()
    assert resume_waiting(PROJECT, num_new_episodes=1) == []

    assert len(resume_waiting(PROJECT, num_new_episodes=2)) == 1

    assert run.execute().result() == "enough 2"
    assert other.resume(answer="go on now").result() == "go_on 2"


def test_a_run_that_cannot_wait_leaves_a_candidate(store: Store) -> None:
    """In the foreground, and as a subflow of a deployment's run; it says what to type."""
    in_foreground = asks(candidate(store).id)
    as_subflow = Run(within, policy=candidate(store).id).execute().result()

    for decision in (in_foreground, as_subflow):
        assert decision.verdict == "candidate"
        assert "recap promote" in decision.reasons[0]
    assert all_waiting(store.home) == []


def test_a_cancelled_run_is_forgotten(store: Store) -> None:
    """Its note goes with the next look, and nothing is resumed."""
    run = Run(asks, policy=candidate(store).id)
    run.execute()
    from prefect.states import Cancelled

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelled(), force=True)

    promote(store, PROJECT, candidate(store), by="bo")

    assert resume_waiting(PROJECT) == []
    assert all_waiting(store.home) == []
    assert CliRunner().invoke(app, ["candidates"]).exit_code == 0
