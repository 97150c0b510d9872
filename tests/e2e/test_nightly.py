"""Nights of ``recap up``: a schedule fires, nothing new is no failure, two never overlap."""

from collections.abc import Generator
from pathlib import Path

import pytest

from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import plumbing_project
from tests.e2e.nights import ServedNights, from_recordings, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServedNights]:
    """One ``recap up`` for the module; its inbox holds a session that is still being copied."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        # A new schedule is looked at within this time, a minute by default.
        patch.setenv("PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS", "5")
        home = tmp_path_factory.mktemp("nights")
        half_copied(home / "inbox" / "session-7")
        served = ServedNights(home, project(home / "inbox"))
        yield served
        served.stop()
    assert served.process.returncode == 0


def project(inbox: Path) -> ProjectConfig:
    return from_recordings(plumbing_project(cameras=False), inbox)


def half_copied(session: Path) -> None:
    """The first files of an episode whose metadata has not arrived."""
    (session / "episode_000").mkdir(parents=True)
    (session / "episode_000" / "states.npy").write_bytes(b"\x93NUMPY")


def test_a_scheduled_night_fires_and_finds_nothing_new(served: ServedNights) -> None:
    """It completes under a name of its own, and leaves the half-copied session for tomorrow."""
    served.every(5)

    night = until(lambda: served.nights("Nothing new"))[0]

    assert night["auto_scheduled"]
    assert night["state"]["type"] == "COMPLETED"
    assert "No finished session" in night["state"]["message"]
    tasks = {"flow_runs": {"id": {"any_": [night["id"]]}}}
    assert served.api("/task_runs/count", tasks) == 0
    assert "session-7" in served.report()
    assert (served.home / "inbox" / "session-7" / "episode_000" / "states.npy").is_file()


def test_a_night_that_is_due_while_one_runs_is_cancelled(served: ServedNights) -> None:
    """The server gives the deployment's only slot to one run, and cancels what comes meanwhile."""
    served.never()
    until(lambda: served.is_idle() or None)
    known = served.deployment()
    body: dict[str, object] = {
        "flow_id": known["flow_id"],
        "deployment_id": known["id"],
        "name": "long night",
    }
    body["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00Z"}}
    long_night = served.api("/flow_runs/", body)["id"]
    pending = {"state": {"type": "PENDING"}}  # from here on it has the slot
    assert served.api(f"/flow_runs/{long_night}/set_state", pending)["status"] == "ACCEPT"

    served.every(5)

    cancelled = until(lambda: served.nights("Cancelled"))[0]

    assert "concurrency limit" in cancelled["state"]["message"]
    assert served.state(long_night)["type"] == "PENDING"
    served.never()
    over = {"state": {"type": "CANCELLED"}, "force": True}  # the slot is free again
    assert served.api(f"/flow_runs/{long_night}/set_state", over)["status"] == "ACCEPT"
