"""Stages that are handed to another machine: what is sent, awaited, and said when it goes wrong."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Completed, Crashed, Failed
from prefect.types.entrypoint import EntrypointType

from flows.accelerator import STAGE_TASKS, AcceleratorStage, accelerator_stage
from recap_core.config.inference import InferRuntime
from recap_core.config.stages import InferValuesConfig
from recap_core.errors import ConfigError, RemoteStageError, WorkerLostError
from recap_core.stages.infer_values import infer_values as infer_values_stage
from tasks import elsewhere
from tasks.child_job import encode
from tasks.elsewhere import decoded
from tasks.labelling import infer_values
from tests.core.stages.value_inference import Inputs, store_inputs
from tests.stage_processes import until

pytestmark = [
    # Prefect leaves clients of finished runs to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("own_garbage"),
]
DEPLOYMENT = "accelerator-stage/no-worker"
POOL = WorkPoolFilter(name=WorkPoolFilterName(any_=["no-worker"]))
CONFIG = InferValuesConfig(frames="rollouts")
RUNTIME = InferRuntime(batch_size=4, shard_frames=4)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return store_inputs(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def pool(prefect_api: None) -> None:
    """A deployment in a pool that has no worker: the tests themselves say how its runs end."""
    del prefect_api
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="no-worker", type="process"))
    accelerator_stage.to_deployment(
        "no-worker", work_pool_name="no-worker", entrypoint_type=EntrypointType.MODULE_PATH
    ).apply()  # pyright: ignore[reportAttributeAccessIssue] - no coroutine outside of async code


@pytest.fixture
def handed_over(pool: None, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a worker of pool cpu."""
    del pool
    monkeypatch.setenv("RECAP_HOME", str(inputs.store.home))
    monkeypatch.setenv("RECAP_GPU_DEPLOYMENT", DEPLOYMENT)
    monkeypatch.setattr(elsewhere, "POLL_S", 0.1)
    return monkeypatch


@flow
def values_flow(inputs: tuple, name: str) -> str:
    """One stage of a flow on pool cpu."""
    dataset, model = inputs
    task = infer_values.with_options(retries=0)
    return task(dataset, model, CONFIG, RUNTIME, name=name).id


def waiting_runs(client: SyncPrefectClient) -> list[FlowRun]:
    """What a worker of the pool would run."""
    runs = client.read_flow_runs(work_pool_filter=POOL)
    return [run for run in runs if run.state is not None and run.state.is_scheduled()]


def end_run(state: State, work: Callable[[], object] | None = None) -> threading.Thread:
    """In another thread, as a worker: wait for the run, do the work, and set the run's state."""

    def end() -> None:
        with get_client(sync_client=True) as client:
            (run,) = until(lambda: waiting_runs(client))
            if work is not None:
                work()
            client.set_flow_run_state(run.id, state, force=True)

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    return thread


def as_json(arguments: dict[str, object]) -> dict:
    """Arguments as they are sent."""
    return {name: encode(value) for name, value in arguments.items()}


def test_arguments_survive_the_way(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Artifacts go by id, so that each machine finds them in the store under its own path."""
    monkeypatch.setenv("RECAP_HOME", str(inputs.store.home))
    sent = {"dataset": inputs.dataset, "value_model": inputs.value_model, "config": CONFIG}
    sent |= {"runtime": RUNTIME, "name": "v"}

    assert decoded("infer_values", as_json(sent)) == sent
    assert str(inputs.store.home) not in str(as_json(sent))


def test_a_stage_accepts_its_own_arguments_only(recap_home: Path) -> None:
    """A deployment can be called by anybody."""
    del recap_home
    with pytest.raises(ConfigError, match="takes no 'nosuch'"):
        decoded("infer_values", {"nosuch": 1})


def test_every_accelerator_stage_can_be_handed_over() -> None:
    """The flow knows the task of each, under the stage's id."""
    assert set(STAGE_TASKS) == set(get_args(AcceleratorStage.__value__))
    for stage, task in STAGE_TASKS.items():
        assert task.name == stage.replace("_", "-")


def test_the_other_machine_s_artifact_is_the_result(
    handed_over: pytest.MonkeyPatch, inputs: Inputs
) -> None:
    """It is found in the store by its key, although the run itself returned nothing."""
    del handed_over

    def work() -> None:
        infer_values_stage(*inputs[:2], CONFIG, RUNTIME, name="far", store=inputs.store)

    ending = end_run(Completed(), work)
    found = values_flow(inputs[:2], "far")
    ending.join()

    values = inputs.store.get(found)
    assert values.name == "far"
    inputs.store.remove(values)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (Failed(message="no memory"), RemoteStageError, "infer_values was handed .*no memory"),
        (Cancelled(), RemoteStageError, "ended as Cancelled"),
        (Crashed(message="killed"), WorkerLostError, "ended as Crashed: killed"),
    ],
)
def test_the_end_of_the_other_run_is_told(
    handed_over: pytest.MonkeyPatch, inputs: Inputs, state: State, error: type, message: str
) -> None:
    """With its state and message; a machine that is gone is worth a second attempt."""
    del handed_over
    ending = end_run(state)

    with pytest.raises(error, match=message):
        values_flow(inputs[:2], "never")

    ending.join()
    assert issubclass(WorkerLostError, OSError)


def test_a_result_that_is_not_in_this_store_is_told(
    handed_over: pytest.MonkeyPatch, inputs: Inputs
) -> None:
    """Two machines with a store each would otherwise seem to work."""
    handed_over.setattr(elsewhere, "VISIBLE_AFTER_S", 0.2)
    ending = end_run(Completed())

    with pytest.raises(RemoteStageError, match="RECAP_HOME of both workers must be the same"):
        values_flow(inputs[:2], "never")

    ending.join()


def test_nobody_waits_for_a_run_that_is_no_longer_awaited(
    handed_over: pytest.MonkeyPatch, inputs: Inputs
) -> None:
    """An interrupted flow cancels what it has handed over."""

    def interrupted_sleep(seconds: float) -> None:
        del seconds
        os.kill(os.getpid(), signal.SIGINT)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=interrupted_sleep)
    handed_over.setattr(elsewhere, "time", clock)
    with pytest.raises(KeyboardInterrupt):
        values_flow(inputs[:2], "never")

    with get_client(sync_client=True) as client:
        newest = client.read_flow_runs(
            work_pool_filter=POOL,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
    assert [run.state_name in {"Cancelling", "Cancelled"} for run in newest] == [True]
