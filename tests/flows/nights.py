"""A night of a project that learns from an inbox, and the report of it."""

import json
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State

from flows.nightly import NightlyForm, nightly
from recap_core.config.flows import ProjectConfig
from recap_core.config.gate import GateConfig
from recap_core.data.session import SUMMARY
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_recording
from tests.flows.conftest import saved

OTHER_ROBOT = SyntheticRobot(cameras=())


def with_inbox(project: ProjectConfig, name: str, inbox: Path) -> str:
    """A project of its own that learns from an inbox; an operator judges. Its name."""
    inbox.mkdir()
    changes = {
        "episodes": "recordings",
        "inbox": str(inbox),
        "judge": "operator",
        "gate": GateConfig(required_checks=()),  # four training steps pass no check
    }
    iteration = project.iteration.model_copy(update=changes)
    return saved(project.model_copy(update={"project": name, "iteration": iteration}))


def arrived(inbox: Path, num_episodes: int) -> None:
    """Put a finished session of another robot into an inbox."""
    episodes = [SyntheticEpisode(length=8, success=i % 2 == 0) for i in range(num_episodes)]
    session = write_synthetic_recording(inbox / "session", episodes, OTHER_ROBOT)
    (session / SUMMARY).write_text(json.dumps({"episodes": num_episodes}))


def night(project: str, **form: Any) -> State[Any]:  # noqa: ANN401 - fields of the form
    """Run the flow now; its state."""
    return nightly(project, NightlyForm(quiet_s=0, **form), return_state=True)


def report(project: str) -> str:
    """The newest morning report."""
    key = ArtifactFilter(key=ArtifactFilterKey(any_=[f"nights-{project.replace('/', '-')}"]))
    with get_client(sync_client=True) as client:
        newest = max(client.read_artifacts(artifact_filter=key), key=lambda one: str(one.created))
    return str(newest.data)
