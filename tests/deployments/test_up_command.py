"""Options of ``recap up``; what it serves is shown in tests/e2e."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.cli import up_command
from deployments.cli.main import run
from deployments.environment import machine_timezone
from deployments.one_up import only_up, refuse_second
from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import plumbing_project
from recap_core.errors import ConfigError, ServerError
from recap_core.lineage.project_files import save_project


@pytest.fixture
def project(recap_home: Path) -> ProjectConfig:
    config = plumbing_project(cameras=False)
    save_project(recap_home, config)
    return config


def test_a_saved_project_is_served_as_it_was_saved(project: ProjectConfig) -> None:
    """Its robot may be left out where it has one."""
    assert up_command.saved_projects(["plumbing"]) == [project]


@pytest.mark.usefixtures("project")
def test_a_project_is_served_once() -> None:
    """Two deployments of one name would replace each other."""
    with pytest.raises(ConfigError, match="twice"):
        up_command.saved_projects(["plumbing", "plumbing/sim-aloha"])


def test_a_second_one_for_the_same_store_is_refused(recap_home: Path) -> None:
    """Each would run a long flow in its own turn; the first one's end makes room."""
    refuse_second(recap_home)
    again = pytest.raises(ServerError, match=r"runs already .*process \d+.*Ctrl-C")
    with only_up(recap_home), again:
        refuse_second(recap_home)
    refuse_second(recap_home)


def test_the_time_zone_of_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is no zone does not count."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert machine_timezone() == "Europe/Berlin"
    monkeypatch.setenv("TZ", "Nowhere/City")
    assert machine_timezone() != "Nowhere/City"


@pytest.fixture
def night_schedule() -> Callable[..., object]:
    from deployments.night_schedule import night_schedule

    return night_schedule


def test_a_bad_schedule_is_refused_before_anything_is_there(
    recap_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server is started and no project set up for a schedule that is none."""
    monkeypatch.setattr("sys.argv", ["recap", "up", "--preset", "plumbing", "--nightly", "at two"])
    with pytest.raises(SystemExit):
        run()
    assert "error: --nightly 'at two' in time zone" in capsys.readouterr().err
    assert not recap_home.exists()


def test_a_schedule_is_one_that_prefect_reads(night_schedule: Callable[..., object]) -> None:
    """The message shows a schedule that is one."""
    assert night_schedule(None, "UTC") is None
    assert getattr(night_schedule("0 2 * * *", "Europe/Berlin"), "cron") == "0 2 * * *"  # noqa: B009
    for cron, timezone in (("0 25 * * *", "UTC"), ("at two", "UTC"), ("0 2 * * *", "Berlin")):
        with pytest.raises(ConfigError, match=r"0 2 \* \* \*.*Europe/Berlin"):
            night_schedule(cron, timezone)
