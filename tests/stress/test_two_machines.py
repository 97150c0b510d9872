"""A flow on one machine whose accelerator stages another one runs.

Two real process workers stand for the machines: pools cpu and gpu, a working directory and a
Prefect home each, and the one store under two paths, as two mounts of a file server are.
"""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterName,
    LogFilter,
    LogFilterFlowRunId,
    TaskRunFilter,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelling
from prefect.types.entrypoint import EntrypointType

from deployments.installation import Installation, install
from flows.accelerator import accelerator_stage
from flows.bootstrap import bootstrap
from flows.forms import RelabelChoice
from flows.relabeling import relabel_only
from recap_core.config.presets import plumbing_project
from recap_core.lineage.locks import try_claim
from recap_core.lineage.project_files import project_name, save_project
from recap_core.lineage.store import Store
from recap_core.progress import read_metrics
from tests.core.stages.value_inference import store_inputs
from tests.stage_processes import is_stage, until

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow,
    # Prefect leaves clients of finished runs to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).parents[2]
DEVICE = "made-up-0"
NUM_STEPS = 1000
GRACE_S = 25.0
"""Less than the 30 s after which a worker kills a flow that it cancels."""


class Machines(NamedTuple):
    """Both, and what they share."""

    store: Store
    cpu: Path
    gpu: Path

    def num_steps(self) -> int:
        """Steps of the unfinished training."""
        files = self.store.home.glob("work/*/training/metrics.jsonl")
        rows = [read_metrics(file) for file in files]
        return max((int(row[-1]["step"]) for row in rows if row), default=0)

    def num_saved(self) -> int:
        """Step of its newest checkpoint."""
        saved = self.store.home.glob("work/*/training/step_*")
        return max((int(path.name[5:]) for path in saved if path.name[5:].isdigit()), default=0)

    def stages(self) -> list[int]:
        """Processes that run a stage of this store."""
        homes = [os.fsencode(self.store.home), os.fsencode(self.gpu / "mnt")]
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [
            pid for pid in pids if is_stage(pid) and any(home in command_of(pid) for home in homes)
        ]

    def is_device_taken(self) -> bool:
        """Whether a process holds the second machine's accelerator."""
        claim = try_claim(self.gpu / "locks" / DEVICE)
        if claim is not None:
            claim.release()
        return claim is None


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def start_worker(pool: str, directory: Path, home: Path) -> subprocess.Popen[bytes]:
    """A process worker that looks for runs every second."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept | {
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_HOME": str(directory / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": str(ROOT),
        "RECAP_HOME": str(home),
        "RECAP_DEVICES": DEVICE if pool == "gpu" else "none",
        "RECAP_DEVICE_LOCKS": str(directory / "locks"),
    }
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool]
    with (directory / "worker.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - Prefect's own command
            [*command, "--name", f"{pool}-1"],
            cwd=directory,
            env=environment,
            stdout=log,
            stderr=log,
        )


@pytest.fixture(scope="module")
def machines(prefect_api: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Machines]:
    """Workers of both pools; the second one's store is a link to the first one's."""
    del prefect_api
    cpu, gpu = tmp_path_factory.mktemp("cpu"), tmp_path_factory.mktemp("gpu")
    (gpu / "mnt").symlink_to(cpu / "store")
    store = Store(cpu / "store")
    store.home.mkdir()
    install(Installation())
    for flow, name, pool in (
        (relabel_only, "lab", "cpu"), (bootstrap, "lab", "cpu"), (accelerator_stage, "gpu", "gpu"),
    ):  # fmt: skip
        flow.to_deployment(
            name, work_pool_name=pool, entrypoint_type=EntrypointType.MODULE_PATH
        ).apply()  # pyright: ignore[reportAttributeAccessIssue] - no coroutine outside of async code
    workers = [start_worker("cpu", cpu, cpu / "store"), start_worker("gpu", gpu, gpu / "mnt")]
    try:
        yield Machines(store, cpu, gpu)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def start_run(deployment: str, parameters: dict) -> FlowRun:
    """Start a flow as the UI does."""
    started = run_deployment(
        deployment,
        parameters=parameters,
        work_queue_name="people",
        timeout=0,
        as_subflow=False,
    )
    assert isinstance(started, FlowRun)
    return started


def now(run: FlowRun) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id)


def end_of(run: FlowRun) -> FlowRun:
    """Wait for a run's end."""

    def ended() -> FlowRun | None:
        found = now(run)
        return found if found.state is not None and found.state.is_final() else None

    return until(ended, 480)


def task_states(flow_run: FlowRun) -> dict[str, str | None]:
    only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=only, task_run_filter=TaskRunFilter())
    return {task.name.partition("-round")[0]: task.state_name for task in runs}


def handed_over(stage: str) -> list[FlowRun]:
    """Runs of a stage that the other machine was given; the oldest first."""
    named = DeploymentFilter(name=DeploymentFilterName(any_=["gpu"]))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            deployment_filter=named,
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_=stage)),
            sort=FlowRunSort.START_TIME_ASC,
        )
    return [run for run in runs if run.name.startswith(stage)]


def log_of(run: FlowRun) -> str:
    """What a run and its tasks have logged."""
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    with get_client(sync_client=True) as client:
        return "\n".join(log.message for log in client.read_logs(of_run))


def log_end(machine: Path) -> str:
    return (machine / "worker.log").read_text()[-4000:]


def test_accelerator_stages_run_on_the_other_machine(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values on pool gpu, in the queue of the run that waits; labels, copy, relabel on pool cpu.

    The next time the first machine finds the values by itself, and hands nothing over.
    """
    dataset, model, store = store_inputs(machines.store.home)
    config = plumbing_project(cameras=False)
    save_project(store.home, config)
    project, data = (
        project_name(config),
        RelabelChoice(dataset=dataset.id, value_model=model.id),
    )

    chosen = {"project": project, "data": data.model_dump(mode="json", exclude_none=True)}
    first = end_of(start_run("relabel-only/lab", chosen))

    assert first.state_name == "Completed", log_end(machines.cpu) + log_end(machines.gpu)
    assert first.work_pool_name == "cpu"
    (other,) = handed_over("infer-values")
    assert (other.work_pool_name, other.work_queue_name) == ("gpu", "people")
    assert other.state_name == "Completed"
    assert set(task_states(other).values()) == {"Completed"}
    made = set(task_states(first).values())
    assert made == {"Completed"}
    monkeypatch.setenv("RECAP_HOME", str(store.home))
    monkeypatch.setenv("RECAP_GPU_DEPLOYMENT", "accelerator-stage/gpu")
    again = relabel_only(project=project, data=data)
    assert again.relabeling.values.parents[0] == dataset.id
    assert handed_over("infer-values") == [other]


def test_a_cancel_reaches_the_training_on_the_other_machine(machines: Machines) -> None:
    """The button in the UI, while the training that was handed over runs.

    Its run is cancelled with the flow's: the process writes a checkpoint within its grace and is
    gone, and the accelerator is free. The next run goes on from there, and is evaluated there.
    """
    config = plumbing_project(cameras=False)
    save_project(machines.store.home, config)
    train = {"isolation": "process", "cancel_grace_s": GRACE_S, "log_interval": 5}
    chosen = {
        "project": project_name(config),
        "training": {"policy_steps": NUM_STEPS, "policy_batch_size": 16},
        "settings": {"runtime": {"train": train | {"save_interval": NUM_STEPS}}},
    }

    first = start_run("bootstrap/lab", chosen)
    until(lambda: machines.num_steps() >= 20 or is_over(first), 300)
    assert not is_over(first), log_end(machines.cpu) + log_end(machines.gpu)
    (pid,), (training,) = machines.stages(), handed_over("train-policy")
    assert machines.is_device_taken()
    began = time.monotonic()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(first.id, Cancelling())
    until(lambda: not is_stage(pid))
    took_s = time.monotonic() - began
    states = end_of(first).state_name, end_of(training).state_name

    assert states == ("Cancelled", "Cancelled"), log_end(machines.cpu) + log_end(machines.gpu)
    assert not machines.is_device_taken()
    saved = machines.num_saved()
    assert 0 < saved == machines.num_steps() < NUM_STEPS
    sys.stdout.write(f"cancel: gone after {took_s:.1f} s, step {saved} is saved\n")
    again = end_of(start_run("bootstrap/lab", chosen))
    assert again.state_name == "Completed", log_end(machines.cpu) + log_end(machines.gpu)
    (_, training), (evaluation,) = handed_over("train-policy"), handed_over("evaluate")
    (line,) = [line for line in log_of(training).splitlines() if "training continues" in line]
    assert line.endswith(f"step_{saved:08d}")
    assert {training.state_name, evaluation.state_name} == {"Completed"}


def is_over(run: FlowRun) -> bool:
    state = now(run).state
    return state is not None and state.is_final()
