"""Nights without work, as the flow sees them; that schedules start them: tests/e2e."""

from collections.abc import Generator
from pathlib import Path

import pytest

from recap_core.config.flows import ProjectConfig
from tests.flows.nights import arrived, night, report, with_inbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("prefect_api"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """One store for the module."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("nights")
        patch.setenv("RECAP_HOME", str(path))
        yield path


@pytest.fixture
def inbox(home: Path, tmp_path: Path) -> Path:
    del home
    return tmp_path / "inbox"


@pytest.fixture
def project(inbox: Path, small_project: ProjectConfig, request: pytest.FixtureRequest) -> str:
    """A project of the test's own that learns from its inbox; an operator judges."""
    return with_inbox(small_project, request.node.name.replace("_", "-"), inbox)


def test_an_empty_inbox_is_nothing_new(project: str) -> None:
    """The night completes under a name of its own; no policy is needed for that."""
    state = night(project)

    assert (state.name, state.type) == ("Nothing new", "COMPLETED")
    assert state.result().outcome == "nothing_new"
    assert report(project).startswith("# Nothing new")


def test_too_few_episodes_wait_for_the_next_night(inbox: Path, project: str) -> None:
    """They are taken in, and counted again together with what comes later."""
    arrived(inbox, 2)

    state = night(project, min_episodes=3)

    assert state.name == "Nothing new"
    assert "2 new episodes are fewer than 3" in (state.message or "")
    assert [one.num_episodes for one in state.result().recordings] == [2]


def test_a_project_without_a_policy_says_what_to_run(inbox: Path, project: str) -> None:
    """The run ends as Failed with one line; the report says what to do."""
    arrived(inbox, 2)

    state = night(project)

    assert state.is_failed()
    assert "\n" not in (state.message or "")
    assert "run the bootstrap flow first" in (state.message or "")
    assert "There is no policy in use yet" in report(project)
    assert "## What to do" in report(project)
