"""People in the loop: a run that waits for approval, or until enough episodes are recorded.

A waiting run is *Suspended*: its process ends, the accelerator is free, a restart of the machine
does not matter, and the UI shows a *Resume* button with a form. When it goes on it starts anew and
comes back here in seconds, because every stage before is cached. A run wakes up by a click, by
``recap promote`` and ``recap reject``, or when :func:`resume_waiting` is called by whatever brings
episodes; none of these is the truth, they only make it look again: approval is in the store (refs
and their history), and so are the episodes.

Only a run of a deployment can be suspended, and no subflow. Elsewhere nothing waits: the policy
stays a candidate, and a person decides with ``recap promote``.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Literal, NamedTuple
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout, NotPausedError, ObjectNotFound
from prefect.flow_runs import resume_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from pydantic import Field

from recap_core.config.gate import GateDecision
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.decisions import decision_on, promote, reject
from recap_core.lineage.store import Store
from recap_core.lineage.waiting import (
    Waiting,
    all_waiting,
    find_waiting,
    forget_waiting,
    note_waiting,
)
from tasks.store import open_store
from tasks.summaries import artifact_key, label

_log = logging.getLogger(__name__)

DAY_S = 86_400.0
LOOK_AGAIN = "look again"
"""Answer of those who only wake a run up."""


class ApprovalForm(RunInput):
    """A new policy waits for your word."""

    decision: Literal["approve", "reject", "look again"] = Field(
        title="Decision",
        description="approve: it becomes current. reject: the old policy stays. look again: ask "
        "me later.",
    )
    note: str = Field(default="", title="Note", description="Why; kept in the history.")
    by: str = Field(default="", title="Your name", description="Kept in the history.")


class CollectionForm(RunInput):
    """The run waits for new episodes."""

    answer: Literal["go on now", "look again", "give up"] = Field(
        title="What to do",
        description="go on now: with the episodes there are. look again: count once more. give up: "
        "end without training.",
    )


class Approval(NamedTuple):
    """How a wait for approval ended."""

    outcome: Literal["approved", "rejected", "timed_out", "not_asked"]
    """``timed_out``: nobody decided in time; ``not_asked``: this run cannot wait."""
    sentence: str


class Collected(NamedTuple):
    """How a wait for episodes ended."""

    outcome: Literal["enough", "go_on", "give_up", "timed_out", "not_asked"]
    """``go_on`` and ``give_up`` are a person's words."""
    num_episodes: int


def wait_for_approval(
    project: str, policy: PolicyCheckpoint, decision: GateDecision, *, timeout_s: float = 7 * DAY_S
) -> Approval:
    """Suspend the run until a person approves or rejects the policy, or the time is up.

    An approved policy is ``current`` and a rejected one noted as such when this returns, with name
    and note in the refs' history. After the time limit the policy stays a candidate; that is
    noticed when something wakes the run, at the latest the next night.

    Args:
        project: ``project/robot``.
        policy: The new policy.
        decision: What the gate says of it; its reasons are shown with the question.
        timeout_s: Longest wait, seconds.
    """
    store, wait = open_store(), _Wait("approval", project, policy=policy.id)
    for attempt in count():
        word = decision_on(store, project, policy)
        if word is not None:
            wait.forget()
            outcome = "approved" if word.word == "promoted" else "rejected"
            return Approval(outcome, word.sentence())
        if not can_wait():
            return Approval("not_asked", _by_hand(project, policy))
        if wait.is_over(timeout_s):
            wait.forget()
            days = timeout_s / DAY_S
            late = f"Nobody decided within {days:g} days; {_by_hand(project, policy)}"
            return Approval("timed_out", late)
        question = _question(project, policy, decision)
        if attempt == 0:
            create_markdown_artifact(question, key=artifact_key(f"approval-{project}"))
        form = ApprovalForm.with_initial_data(description=question)
        answer = suspend_flow_run(form, timeout=None, key=f"approval-{policy.id[:8]}-{attempt}")
        _note_answer(store, project, policy, answer)
    raise AssertionError("counting never ends")


def wait_for_episodes(
    project: str, num_episodes: int, *, count_new: Callable[[], int], timeout_s: float = 7 * DAY_S
) -> Collected:
    """Suspend the run until so many new episodes are in the store, a click, or the time is up.

    Args:
        project: ``project/robot``.
        num_episodes: New episodes to wait for.
        count_new: How many there are now; asked whenever the run wakes up.
        timeout_s: Longest wait, seconds.
    """
    wait = _Wait("episodes", project, num_episodes=num_episodes)
    for attempt in count():
        found = count_new()
        if found >= num_episodes:
            wait.forget()
            return Collected("enough", found)
        if not can_wait():
            return Collected("not_asked", found)
        if wait.is_over(timeout_s):
            wait.forget()
            return Collected("timed_out", found)
        text = (
            f"**{found} of {num_episodes} new episodes** of {project} are in the store. The run "
            "goes on by itself when there are enough."
        )
        form = CollectionForm.with_initial_data(description=text)
        answer = suspend_flow_run(form, timeout=None, key=f"episodes-{attempt}").answer
        if answer != LOOK_AGAIN:
            wait.forget()
            return Collected("go_on" if answer == "go on now" else "give_up", found)
    raise AssertionError("counting never ends")


def settled(decision: GateDecision, approval: Approval) -> GateDecision:
    """The gate's decision after a person was asked; the person's word is the first reason."""
    verdicts = {"approved": "promoted", "rejected": "kept"}
    verdict = verdicts.get(approval.outcome, decision.verdict)
    reasons = (approval.sentence, *decision.reasons)
    changed = {"verdict": verdict, "reasons": reasons}
    return GateDecision.model_validate({**decision.model_dump(), **changed})


def can_wait() -> bool:
    """Whether the running flow can be suspended: it is a deployment's, and no subflow."""
    return deployment.id is not None and flow_run.parent_flow_run_id is None


def resume_waiting(project: str, *, num_new_episodes: int | None = None) -> list[str]:
    """Wake the runs whose episodes have come, whose policy was decided on, or whose time is up.

    To be called by whatever brings episodes and by what runs every night; it costs nothing where
    nothing waits.

    Args:
        project: ``project/robot``.
        num_new_episodes: New episodes there are; None: not counted.

    Returns:
        Names of the runs that were woken.
    """
    store = open_store()
    waiting = all_waiting(store.home, project)
    return wake(note for note in waiting if _is_due(note, store, num_new_episodes))


def held_up_by(project: str) -> Waiting | None:
    """Another run of a project whose new policy waits for a person's word; None if there is none.

    Args:
        project: ``project/robot``.
    """
    home = open_store().home
    for note in all_waiting(home, project):
        if note.waits_for != "approval" or note.run == str(flow_run.id):
            continue
        if _is_suspended(note.run):
            return note
        forget_waiting(home, note.run, note.waits_for)
    return None


def _is_due(note: Waiting, store: Store, num_new_episodes: int | None) -> bool:
    if note.is_overdue(datetime.now(UTC)):
        return True
    if note.waits_for == "episodes":
        return num_new_episodes is not None and num_new_episodes >= (note.num_episodes or 1)
    policy = store.get(note.policy or "")
    return isinstance(policy, PolicyCheckpoint) and bool(decision_on(store, note.project, policy))


def wake(notes: Iterable[Waiting]) -> list[str]:
    """Make waiting runs look again; notes of runs that wait no longer are removed.

    Returns:
        Names of the runs that were woken.
    """
    woken: list[str] = []
    for note in notes:
        field = "decision" if note.waits_for == "approval" else "answer"
        if not _is_suspended(note.run):
            forget_waiting(open_store().home, note.run, note.waits_for)
            continue
        try:
            resume_flow_run(UUID(note.run), run_input={field: LOOK_AGAIN})
        except (NotPausedError, FlowPauseTimeout):  # somebody else was faster, or it has ended
            continue
        woken.append(note.run_name)
    return woken


class _Wait:
    """The note of the running flow, and its time limit, which survives the process."""

    def __init__(
        self,
        waits_for: Literal["approval", "episodes"],
        project: str,
        *,
        policy: str | None = None,
        num_episodes: int | None = None,
    ) -> None:
        self._waits_for: Literal["approval", "episodes"] = waits_for
        self._project = project
        self._policy = policy
        self._num_episodes = num_episodes
        self._home = open_store().home
        self._run = str(flow_run.id)

    def is_over(self, timeout_s: float) -> bool:
        """Whether the time is up; the first call writes the note."""
        now = datetime.now(UTC)
        note = find_waiting(self._home, self._run, self._waits_for)
        if note is None or note.policy != self._policy:
            note = Waiting(
                run=self._run,
                run_name=flow_run.name or self._run,
                waits_for=self._waits_for,
                project=self._project,
                policy=self._policy,
                num_episodes=self._num_episodes,
                since=now,
                until=now + timedelta(seconds=timeout_s),
            )
            note_waiting(self._home, note)
        return note.is_overdue(now)

    def forget(self) -> None:
        """The run waits no longer."""
        forget_waiting(self._home, self._run, self._waits_for)


def _note_answer(
    store: Store, project: str, policy: PolicyCheckpoint, answer: ApprovalForm
) -> None:
    """Make a click in the UI what ``recap promote`` and ``recap reject`` would have made of it."""
    by, note = answer.by or "the Prefect UI", answer.note or None
    if answer.decision == "approve":
        promote(store, project, policy, by=by, note=note)
    elif answer.decision == "reject":
        reject(store, project, policy, by=by, note=note)


def _question(project: str, policy: PolicyCheckpoint, decision: GateDecision) -> str:
    reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
    return (
        f"## May `{label(policy)}` become {project}/current?\n\n{reasons}\n\n"
        f"Resume this run with your decision, or in a terminal: `recap promote --project {project}`"
        f" or `recap reject --project {project}`."
    )


def _by_hand(project: str, policy: PolicyCheckpoint) -> str:
    return (
        f"{label(policy)} is a candidate: promote it with recap promote {policy.id[:8]} "
        f"--project {project}."
    )


def _is_suspended(run: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(run).state  # pyright: ignore[reportArgumentType] - parses it
        except ObjectNotFound:
            return False
    return state is not None and state.is_paused()
