"""Nights as the flow sees them; that schedules start them is shown in tests/e2e."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State

from flows.bootstrap import bootstrap
from flows.nightly import NightlyForm, nightly
from flows.references import ProjectRefs
from recap_core.config.flows import ProjectConfig
from recap_core.data.session import SUMMARY
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_recording
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.project_files import load_project
from recap_core.lineage.store import Store
from tests.flows.conftest import saved

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow,
    # Prefect leaves clients of finished runs to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    ),
]
OTHER_ROBOT = SyntheticRobot(cameras=())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """One store for the module."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("nights")
        patch.setenv("RECAP_HOME", str(path))
        yield path


@pytest.fixture
def project(home: Path, small_project: ProjectConfig, request: pytest.FixtureRequest) -> str:
    """A project of the test's own that learns from its inbox; an operator judges."""
    inbox = home / f"inbox-{request.node.name}"
    inbox.mkdir()
    changes = {"episodes": "recordings", "inbox": str(inbox), "judge": "operator"}
    iteration = small_project.iteration.model_copy(update=changes)
    return saved(
        small_project.model_copy(
            update={"project": request.node.name.replace("_", "-"), "iteration": iteration}
        )
    )


def arrived(home: Path, project: str, num_episodes: int) -> Path:
    """A finished session in the inbox of a project."""
    inbox = home / f"inbox-{project.partition('/')[0].replace('-', '_')}"
    episodes = [SyntheticEpisode(length=8, success=i % 2 == 0) for i in range(num_episodes)]
    session = write_synthetic_recording(inbox / "session", episodes, OTHER_ROBOT)
    (session / SUMMARY).write_text(json.dumps({"total_episodes": num_episodes}))
    return session


def night(project: str, **form: Any) -> State[Any]:  # noqa: ANN401 - fields of the form
    return nightly(project, NightlyForm(quiet_s=0, **form), return_state=True)


def report(project: str) -> str:
    key = ArtifactFilter(key=ArtifactFilterKey(any_=[f"nights-{project.replace('/', '-')}"]))
    with get_client(sync_client=True) as client:
        newest = max(client.read_artifacts(artifact_filter=key), key=lambda one: str(one.created))
    return str(newest.data)


@pytest.mark.usefixtures("prefect_api")
def test_an_empty_inbox_is_nothing_new(project: str) -> None:
    """The night completes under a name of its own; no policy is needed for that."""
    state = night(project)

    assert (state.name, state.type) == ("Nothing new", "COMPLETED")
    assert state.result().outcome == "nothing_new"
    assert report(project).startswith("# Nothing new")


@pytest.mark.usefixtures("prefect_api")
def test_too_few_episodes_wait_for_the_next_night(home: Path, project: str) -> None:
    """They are taken in, and counted again together with what comes later."""
    arrived(home, project, 2)

    state = night(project, min_episodes=3)

    assert state.name == "Nothing new"
    assert "2 new episodes are fewer than 3" in (state.message or "")
    assert [one.num_episodes for one in state.result().recordings] == [2]


@pytest.mark.usefixtures("prefect_api")
def test_a_project_without_a_policy_says_what_to_run(home: Path, project: str) -> None:
    """The run ends as Failed with one line; the report says what to do."""
    arrived(home, project, 2)

    state = night(project)

    assert state.is_failed()
    assert "\n" not in (state.message or "")
    assert "run the bootstrap flow first" in (state.message or "")
    assert "There is no policy in use yet" in report(project)
    assert "## What to do" in report(project)


@pytest.mark.usefixtures("prefect_api")
def test_a_failed_night_leaves_the_policy_and_names_the_stage(home: Path, project: str) -> None:
    """A recording of another robot cannot be learned from; it stays for the next night."""
    bootstrap(project)
    refs = ProjectRefs(Store(home), load_project(home, project))
    before = refs.get("current", PolicyCheckpoint)
    arrived(home, project, 2)

    state = night(project)

    assert state.is_failed()
    assert (state.message or "").startswith("merge-round-1")
    assert refs.get("current", PolicyCheckpoint) == before
    assert len(refs.new_recordings()) == 1
    told = report(project)
    assert f"still `{before.name}-{before.id[:8]}`" in told
    assert "Stage **merge-round-1" in told
