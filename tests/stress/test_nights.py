"""Real nights in simulation under ``kill -9`` of everything that can be killed.

Takes several minutes, most of them waiting; run with ``make stress``.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deployments.automations import DeadRunRule
from deployments.server import prefect_server
from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import plumbing_project
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store
from tests.e2e.nights import ServedNights, until

SCHEDULER_S = 180
"""Prefect's scheduler looks at every deployment once a minute; twice, and time to start."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> ProjectConfig:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    return plumbing_project(cameras=False)


@pytest.fixture
def served(tmp_path: Path, project: ProjectConfig) -> Generator[ServedNights]:
    """``recap up`` with a policy to start from."""
    served = ServedNights(tmp_path, project)
    first = served.run("bootstrap")
    assert until(lambda: served.ended(first), 600)["name"] == "Completed"
    yield served
    served.stop()


def published(home: Path) -> dict[str, Manifest]:
    return {manifest.id: manifest for manifest in Store(home).artifacts()}


def in_the_middle(served: ServedNights, stage: str) -> bool | None:
    """Whether the task of a stage runs now."""
    body = {"task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    names = [run["name"] for run in served.api("/task_runs/filter", body)]
    return any(name.startswith(stage) for name in names) or None


def begun(served: ServedNights) -> list[Mapping[str, Any]]:
    """Nights that the schedule made, and that are more than due."""
    nights = served.nights("Running", "Completed", "Cancelled", "Skipped")
    return [night for night in nights if night["auto_scheduled"]]


def test_a_killed_night_is_crashed_by_the_automation_and_resumed(served: ServedNights) -> None:
    """The runner is gone too, the server lives: 95 s later the run has ended, and goes on anew."""
    with prefect_server(served.home) as server:
        assert server is not None
        server.wait()
        run = served.run()
        until(lambda: in_the_middle(served, "train-value"), 300)
        os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait()
        before = published(served.home)

        state = until(lambda: served.ended(run), DeadRunRule().silence_s + 60)

        assert (state["name"], state["type"]) == ("Crashed", "CRASHED")
        assert "No sign of life" in state["message"]
        served.start()
        again = served.run()
        assert until(lambda: served.ended(again), 600)["name"] == "Completed"
    after = published(served.home)
    assert {key: after[key] for key in before} == before, "a finished stage ran again"


def test_a_night_survives_a_restart_of_the_server(served: ServedNights) -> None:
    """The server is killed under a running night: it completes, and the next one can start.

    A slot that the killed server had given away for ever would show as a cancelled night.
    """
    run = served.run()
    until(lambda: in_the_middle(served, "train-value"), 300)
    os.kill(served.server_pid(), signal.SIGKILL)

    until(lambda: served.is_answering() or None, 120)

    assert until(lambda: served.ended(run), 600)["name"] == "Completed"
    served.every(5)
    next_one = until(lambda: begun(served), SCHEDULER_S)
    assert [night["state_name"] for night in next_one] == ["Running"], served.nights()


def test_one_night_catches_up_after_downtime(served: ServedNights) -> None:
    """Everything was down over several slots; one night is run for all of them."""
    served.every(15)
    until(lambda: served.nights("Running"), 90)
    due = {night["id"] for night in served.nights("Scheduled", "Late")[:4]}
    served.kill()
    time.sleep(75)  # the slots go by

    served.start()
    until(lambda: all(served.ended(night) for night in due) or None, 900)

    served.never()
    outcomes = Counter(served.state(night)["name"] for night in due)
    assert outcomes.pop("Completed") == 1, outcomes
    assert set(outcomes) <= {"Skipped", "Cancelled"}
