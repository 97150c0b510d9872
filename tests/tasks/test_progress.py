"""Progress of a task: seen in Prefect, never in the way."""

from collections.abc import Generator
from contextlib import contextmanager

import httpx
import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterTaskRunId
from prefect.context import TaskRunContext

from recap_core.progress import Bar
from tasks.progress import TaskProgress, _Reporter
from tests.stage_processes import until

pytestmark = pytest.mark.usefixtures("prefect_api")


class Recorder:
    """A terminal that remembers what it was told."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, str]] = []

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """A bar that is recorded."""
        self.updates.append((done, f"{label} of {total}"))
        yield self

    def update(self, done: int, note: str = "") -> None:
        """Remember an update."""
        self.updates.append((done, note))


def progress_artifacts(task_run_id: object) -> list[tuple[str | None, object]]:
    """Description and percentage of the progress artifacts of a task run."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                task_run_id=ArtifactFilterTaskRunId(any_=[task_run_id])  # pyright: ignore[reportArgumentType]
            )
        )
    return [(a.description, a.data) for a in found if a.type == "progress"]


@task
def work(interval_s: float, *, until_seen: bool) -> tuple[object, list[tuple[int, str]]]:
    """Ten steps, in the middle of which the UI may see them; the task run's id, and the terminal's.

    So it is a long loop on any machine.
    """
    context = TaskRunContext.get()
    assert context is not None
    run, terminal = context.task_run.id, Recorder()
    with TaskProgress(interval_s=interval_s, terminal=terminal).bar("train sft", 10, 2) as bar:
        for step in range(3, 11):
            bar.update(step, f"loss 0.{step}")
            if until_seen and step == 5:
                until(lambda: progress_artifacts(run))
    return run, terminal.updates


def test_a_long_loop_leaves_one_artifact_with_its_last_state() -> None:
    """It is updated in place, and its last state is the loop's, whatever the interval."""
    run_id, seen = work(0.1, until_seen=True)

    assert progress_artifacts(run_id) == [("train sft: 10 of 10 loss 0.10", 100)]
    assert seen[0] == (2, "train sft of 10")
    assert seen[-1] == (10, "loss 0.10")
    assert len(seen) == 9


def test_a_short_loop_leaves_no_artifact() -> None:
    """Nobody needs a progress bar of something that is over."""
    run_id, _ = work(3600.0, until_seen=False)

    assert progress_artifacts(run_id) == []


def test_an_exception_in_the_loop_passes_through() -> None:
    """And the reporting thread ends with it."""
    with pytest.raises(ZeroDivisionError):
        fail_inside()


def fail_inside() -> None:
    with TaskProgress(interval_s=0.01, terminal=Recorder()).bar("train", 10) as bar:
        bar.update(1)
        raise ZeroDivisionError


def test_work_goes_on_when_the_server_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    """Hours of training are worth more than a progress bar: one warning, and no more reports."""

    def write() -> None:
        raise httpx.ConnectError("All connection attempts failed")

    assert not _Reporter._survives(write)
    assert "progress is no longer reported: All connection attempts failed" in caplog.text
