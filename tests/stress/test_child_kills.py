"""Stages in child processes whose flow is cancelled, stopped or killed, on a real server.

Counts are printed; run with ``make stress`` (``RECAP_KILLS``: parents killed at random moments).
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_HOME
from prefect.states import Cancelling

from recap_core.checkpoints.params import load_params
from recap_core.checkpoints.trees import flatten
from recap_core.lineage.store import Store
from recap_core.progress import read_metrics
from tests.stage_processes import descendants, is_stage, until

NUM_KILLS = int(os.environ.get("RECAP_KILLS", "50")) // 5
ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Parameters of a training that nothing interrupts, in its own process."""
    home = tmp_path_factory.mktemp("whole")
    subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "tests.stress.served_training", str(home), "inline"],
        cwd=ROOT,
        check=True,
    )
    return params(home)


def params(home: Path) -> dict[str, Any]:
    """Leaves of the one policy in a store."""
    store = Store(home)
    (policy,) = (m.artifact() for m in store.artifacts() if m.kind == "policy_checkpoint")
    return flatten(load_params(store.path(policy) / "params"))


def assert_same(home: Path, whole: dict[str, Any]) -> None:
    """Bit by bit."""
    found = params(home)
    assert found.keys() == whole.keys()
    for path, leaf in whole.items():
        np.testing.assert_array_equal(found[path], leaf)


class Served:
    """A runner of the flow, and its store."""

    def __init__(self, home: Path, client: SyncPrefectClient) -> None:
        self.home = home
        self._client = client
        urls = {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
        urls["PREFECT_HOME"] = str(PREFECT_HOME.value())
        urls["PREFECT_RUNNER_POLL_FREQUENCY"] = "2"
        with (home.parent / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "tests.stress.served_training", str(home)],
                cwd=ROOT,
                env=os.environ | urls,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> FlowRun:
        """Ask for a run."""
        deployment = until(self._deployment)
        return self._client.create_flow_run_from_deployment(deployment)

    def _deployment(self) -> UUID | None:
        found = [d for d in self._client.read_deployments() if d.name == "one"]
        return found[0].id if found else None  # a run that comes early is found later

    def num_steps(self) -> int:
        """Steps of the unfinished training."""
        files = self.home.glob("work/*/training/metrics.jsonl")
        rows = [read_metrics(file) for file in files]  # of none, if it is removed just now
        return max((int(row[-1]["step"]) for row in rows if row), default=0)

    def num_saved(self) -> int:
        """Step of its newest checkpoint."""
        saved = self.home.glob("work/*/training/step_*")
        return max((int(path.name[5:]) for path in saved if path.name[5:].isdigit()), default=0)

    def state(self, run: FlowRun) -> str:
        """Name of a run's state."""
        return self._client.read_flow_run(run.id).state_name or ""


def stages() -> list[int]:
    """Every process of this machine that runs a stage."""
    return [
        int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and is_stage(int(p.name))
    ]


@pytest.fixture
def client(prefect_api: None) -> Generator[SyncPrefectClient]:
    del prefect_api
    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def served(tmp_path: Path, client: SyncPrefectClient) -> Generator[Served]:
    runner = Served(tmp_path / "home", client)
    yield runner
    runner.process.send_signal(signal.SIGINT)
    runner.process.wait(60)


def test_a_cancelled_run_writes_a_checkpoint_and_goes_on_from_it(
    served: Served, client: SyncPrefectClient, whole: dict[str, Any]
) -> None:
    """The state is what the button in the UI asks for; the bits are those of no cancel.

    What the child logged, and its progress, is on the run's page.
    """
    run = served.start()
    until(lambda: served.num_steps() >= 3)
    (pid,) = stages()

    began = time.monotonic()
    client.set_flow_run_state(run.id, Cancelling())
    until(lambda: served.state(run) == "Cancelled")
    until(lambda: not is_stage(pid))
    took_s = time.monotonic() - began

    assert served.num_saved() == served.num_steps() > 0
    sys.stdout.write(f"cancel: {took_s:.1f} s, saved after step {served.num_saved()}\n")
    again = served.start()
    until(lambda: served.state(again) in {"Completed", "Failed", "Crashed"}, 300)
    assert served.state(again) == "Completed"
    assert_same(served.home, whole)
    logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[again.id])))
    assert any("training continues from" in log.message and log.task_run_id for log in logs)
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[again.id]))
    shown = [a for a in client.read_artifacts(artifact_filter=of_run) if a.type == "progress"]
    assert [(a.description or "").split(" lo")[0] for a in shown] == ["train p: 1500 of 1500"]


def test_a_stopped_runner_leaves_no_stage(served: Served, whole: dict[str, Any]) -> None:
    """SIGTERM, as from an init system: a checkpoint is written, and the next runner goes on."""
    served.start()
    until(lambda: served.num_steps() >= 3)
    (pid,) = stages()

    os.killpg(served.process.pid, signal.SIGTERM)
    until(lambda: not is_stage(pid))
    served.process.wait(60)

    assert served.num_saved() == served.num_steps() > 0
    assert served.num_saved() < 1500
    del whole


def test_killed_parents_leave_no_stage_and_lose_little(
    tmp_path: Path, client: SyncPrefectClient, whole: dict[str, Any]
) -> None:
    """SIGKILL of runner and flow at random moments; in the end the bits are those of no kill."""
    rng, num_amid = random.Random(0), 0  # noqa: S311 - moments of kills
    served: Served | None = None
    for _ in range(NUM_KILLS):
        served = Served(tmp_path / "home", client)
        run = served.start()
        seen = served.num_steps()
        until(lambda run=run, served=served: stages() or is_over(served, run))
        if rng.random() < 0.7:
            until(
                lambda served=served, seen=seen, run=run: (
                    served.num_steps() > seen or is_over(served, run)
                )
            )
        time.sleep(rng.uniform(0, 2))
        pids, amid = stages(), served.num_saved()
        for child in [served.process.pid, *descendants(served.process.pid)]:
            if not is_stage(child):
                os.kill(child, signal.SIGKILL)
        served.process.wait()
        until(lambda: not stages(), 45)
        num_amid += bool(pids) and served.num_saved() > amid
        if is_published(served.home):
            break
    assert served is not None
    if not is_published(served.home):
        last = Served(tmp_path / "home", client)
        run = last.start()
        until(lambda: last.state(run) == "Completed", 300)
        last.process.send_signal(signal.SIGINT)
        last.process.wait(60)
    assert_same(tmp_path / "home", whole)
    sys.stdout.write(f"{NUM_KILLS} kills at most; {num_amid} wrote a checkpoint afterwards\n")


def is_over(served: Served, run: FlowRun) -> bool:
    return served.state(run) in {"Completed", "Failed", "Crashed"}


def is_published(home: Path) -> bool:
    return any(m.kind == "policy_checkpoint" for m in Store(home).artifacts())
