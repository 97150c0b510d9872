"""What happens every night: learn from what was recorded by day."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, cast
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import TaskRunSort
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed
from prefect.types import DateTime
from pydantic import Field

from flows.forms import Choice, IngestChoice, ProjectName
from flows.ingest import take_in, wake_waiting
from flows.night_report import (
    failed_report,
    keep_night,
    nothing_new_report,
    one_line,
    trained_report,
)
from flows.people import held_up_by
from flows.references import ProjectRefs
from flows.results import IterationResult, Result
from flows.rounds import run_round
from flows.settings import project_of_run, run_settings
from recap_core.config.environment import pages_url
from recap_core.config.flows import ProjectConfig
from recap_core.config.nights import NOTHING_NEW, SKIPPED
from recap_core.lineage.artifacts import PolicyCheckpoint, Recording
from recap_core.lineage.project_files import project_name
from tasks.round_summary import project_link
from tasks.store import open_store
from tasks.summaries import label

RECORD_LAG_S: Final = 5.0


class NightlyForm(Choice):
    """When a night is worth its time."""

    min_episodes: int = Field(
        default=1,
        ge=1,
        title="Fewest new episodes",
        description="With fewer episodes that no round has used yet, the night ends at once, and "
        "they wait for the next one.",
    )
    quiet_s: float = Field(
        default=60.0,
        ge=0,
        title="Quiet time",
        description="Seconds in which nothing in a session may have changed: a robot that still "
        "copies is left alone until the next night.",
    )


class NightResult(Result):
    """What a night did."""

    outcome: Literal["trained", "nothing_new", "skipped"]
    recordings: tuple[Recording, ...] = ()
    """What was taken in; whether or not there was enough to train."""
    waiting: tuple[str, ...] = ()
    """Sessions that were left for the next night, with the reason."""
    round: IterationResult | None = None


def _run_name() -> str:
    due = flow_run.scheduled_start_time or datetime.now(UTC)
    return f"night-{project_of_run(flow_run.parameters)}-{due:%Y-%m-%d-%H%M}"


@flow(name="nightly", flow_run_name=_run_name)
def nightly(
    project: ProjectName,
    night: NightlyForm = NightlyForm(),
    settings: dict[str, Any] = {},  # noqa: B006 - Prefect shows it, nobody changes it
) -> State[NightResult]:
    """Take in what was recorded, and run a round on it: relabel, retrain, check, ``candidate``.

    With nothing new it ends at once, as *Nothing new*. A night that fails leaves the policy in use
    as it is, and a report that says what to do; the next one goes on where it stopped. In
    simulation the current policy records the episodes, and a better one is promoted by itself.

    Args:
        project: ``project/robot``.
        night: When a night is worth its time.
        settings: Changes for this run, in the shape of ``recap.yaml``.
    """
    later = _night_since()
    if later is not None:
        message = f"{later} began after this night was due, and has caught up for it"
        get_run_logger().info("%s.", message)
        return Completed(name=SKIPPED, message=message, data=NightResult(outcome="skipped"))
    config: ProjectConfig | None = None
    recordings: Sequence[Recording] = ()
    has_begun = False
    try:
        config = run_settings(project, settings=settings)
        refs = ProjectRefs(open_store(), config)
        waiting = _taken_in(config, night)
        wake_waiting(config)
        recordings = refs.new_recordings()
        reason = _held_up(config) or _not_worth_it(config, recordings, night.min_episodes)
        if reason is not None:
            return _nothing_new(config, reason, recordings, waiting)
        k, has_begun = refs.next_round(), True
        result = run_round(config, k, refs.round_inputs(k))
    except Exception as error:  # noqa: BLE001 - the night's edge: whatever it is becomes a report
        stage = _failed_stage() if has_begun else None
        return _failed(error, config, recordings, stage=stage)
    outcome = f"round {k}: {label(result.learning.policy)} is {_became(result)}"
    keep_night(
        config,
        trained_report(result, waiting, project_link(project_name(config))),
        description=outcome,
    )
    night_result = NightResult(
        outcome="trained", recordings=tuple(recordings), waiting=waiting, round=result
    )
    return Completed(message=outcome, data=night_result)


def _taken_in(config: ProjectConfig, night: NightlyForm) -> tuple[str, ...]:
    """Ingest the finished sessions of the inbox; those that were left alone, with the reason."""
    if config.iteration.episodes == "simulation" or config.iteration.inbox is None:
        return ()
    taken = take_in(config, IngestChoice(session=None, quiet_s=night.quiet_s))
    return tuple(f"`{one.session}`: {one.reason}" for one in taken.skipped)


def _held_up(config: ProjectConfig) -> str | None:
    """Why the next round cannot begin: the last one waits for a person."""
    note = held_up_by(project_name(config))
    if note is None:
        return None
    return (
        f"The run {note.run_name} waits for your word on its new policy: resume it in the UI, or "
        "use recap promote or recap reject. What was recorded waits for the next night."
    )


def _not_worth_it(
    config: ProjectConfig, recordings: Sequence[Recording], min_episodes: int
) -> str | None:
    """Why there is nothing to do tonight; None if there is."""
    if config.iteration.episodes == "simulation":
        return None
    num_episodes = sum(recording.num_episodes for recording in recordings)
    if not recordings:
        return "No finished session came since the last round."
    if num_episodes < min_episodes:
        return (
            f"{num_episodes} new episodes are fewer than {min_episodes}, the fewest that a night "
            "is worth. They wait."
        )
    return None


def _nothing_new(
    config: ProjectConfig, reason: str, recordings: Sequence[Recording], waiting: tuple[str, ...]
) -> State[NightResult]:
    keep_night(config, nothing_new_report(reason, waiting, pages_url()), description=reason)
    left = f" Left for the next night: {len(waiting)}." if waiting else ""
    result = NightResult(outcome="nothing_new", recordings=tuple(recordings), waiting=waiting)
    return Completed(name=NOTHING_NEW, message=f"{reason}{left}", data=result)


def _failed(
    error: Exception,
    config: ProjectConfig | None,
    recordings: Sequence[Recording],
    *,
    stage: str | None,
) -> State[NightResult]:
    """Log the traceback, leave the report, and end the run with one line."""
    get_run_logger().exception("The night failed in %s", stage or "its own steps")
    message = f"{stage}: {one_line(error)}" if stage else one_line(error)
    if config is not None:
        current = ProjectRefs(open_store(), config).find("current", PolicyCheckpoint)
        report = failed_report(
            error, stage=stage, recordings=recordings, current=current, page=pages_url()
        )
        keep_night(config, report, description=f"failed: {message}")
    return Failed(message=message)


def _became(result: IterationResult) -> str:
    words = {"promoted": "current now", "candidate": "candidate", "kept": "not promoted"}
    return words[result.decision.verdict]


def _night_since() -> str | None:
    """A night of the same deployment that started after this one was due, if a schedule made it.

    After a time without a server or a worker, every slot that was missed has a run of its own. The
    first of them learns from everything that was recorded; the others have nothing left to do. A
    night that has begun before, and waited for a person since, goes on.
    """
    if deployment.id is None or not flow_run.parameters or not _is_first_attempt():
        return None
    due = cast("DateTime", flow_run.scheduled_start_time)
    with get_client(sync_client=True) as client:
        nights = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                start_time=FlowRunFilterStartTime(after_=due + timedelta(microseconds=1)),
                state=FlowRunFilterState(
                    type=FlowRunFilterStateType(not_any_=[StateType.SCHEDULED])
                ),
            ),
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        )
    others = [run.name for run in nights if str(run.id) != flow_run.id and _worked(run)]
    return others[0] if others else None


def _is_first_attempt() -> bool:
    """Whether a schedule made this run, and it has not begun before."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(flow_run.id))
    return run.auto_scheduled and run.run_count <= 1


def _worked(night: FlowRun) -> bool:
    """Whether a night really ran; not one that is only due, was cancelled, or was skipped."""
    return night.run_count > 0 and night.state_name != SKIPPED


def _failed_stage() -> str | None:
    """Name of the task that failed last in this run; its record lags behind a little."""
    failed = TaskRunFilterState(
        type=TaskRunFilterStateType(any_=[StateType.FAILED, StateType.CRASHED])
    )
    mine = TaskRunFilterFlowRunId(any_=[UUID(flow_run.id)])
    deadline = time.monotonic() + RECORD_LAG_S
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            runs = client.read_task_runs(
                task_run_filter=TaskRunFilter(flow_run_id=mine, state=failed),
                sort=TaskRunSort.END_TIME_DESC,
            )
            if runs:
                return runs[0].name
            time.sleep(0.5)
    return None
