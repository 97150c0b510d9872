"""A flow on one machine whose accelerator stages another one runs.

Two real process workers stand for the machines: pools cpu and gpu, a working directory and a
Prefect home each, and the one store under two paths, as two mounts of a file server are.
"""

import os
import subprocess
import sys
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
    TaskRunFilter,
)
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from deployments.installation import Installation, install
from flows.accelerator import accelerator_stage
from flows.forms import RelabelChoice
from flows.relabeling import relabel_only
from recap_core.config.presets import plumbing_project
from recap_core.lineage.project_files import project_name, save_project
from recap_core.lineage.store import Store
from tests.core.stages.value_inference import store_inputs

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow,
    # Prefect leaves clients of finished runs to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROOT = Path(__file__).parents[2]


class Machines(NamedTuple):
    """Both, and what they share."""

    store: Store
    cpu: Path
    gpu: Path


def start_worker(pool: str, directory: Path, home: Path) -> subprocess.Popen[bytes]:
    """A process worker that looks for runs every second."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept | {
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_HOME": str(directory / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": str(ROOT),
        "RECAP_HOME": str(home),
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
    for flow, name, pool in ((relabel_only, "lab", "cpu"), (accelerator_stage, "gpu", "gpu")):
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


def run(parameters: dict) -> FlowRun:
    """Run relabel-only as the UI does, and wait for its end."""
    ended = run_deployment(
        "relabel-only/lab",
        parameters=parameters,
        work_queue_name="people",
        poll_interval=0.5,
        timeout=480,
        as_subflow=False,
    )
    assert isinstance(ended, FlowRun)
    return ended


def task_states(flow_run: FlowRun) -> dict[str, str | None]:
    only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=only, task_run_filter=TaskRunFilter())
    return {task.name.partition("-round")[0]: task.state_name for task in runs}


def handed_over() -> list[FlowRun]:
    """Stages that the other machine was given."""
    named = DeploymentFilter(name=DeploymentFilterName(any_=["gpu"]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(deployment_filter=named)


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

    first = run({"project": project, "data": data.model_dump(mode="json", exclude_none=True)})

    assert first.state_name == "Completed", log_end(machines.cpu) + log_end(machines.gpu)
    assert first.work_pool_name == "cpu"
    (other,) = handed_over()
    assert (other.work_pool_name, other.work_queue_name) == ("gpu", "people")
    assert other.state_name == "Completed"
    assert set(task_states(other).values()) == {"Completed"}
    made = set(task_states(first).values())
    assert made == {"Completed"}
    monkeypatch.setenv("RECAP_HOME", str(store.home))
    monkeypatch.setenv("RECAP_GPU_DEPLOYMENT", "accelerator-stage/gpu")
    again = relabel_only(project=project, data=data)
    assert again.relabeling.values.parents[0] == dataset.id
    assert handed_over() == [other]
