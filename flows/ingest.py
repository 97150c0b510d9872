"""Taking in what robots recorded."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.forms import IngestChoice, ProjectName
from flows.references import ProjectRefs
from flows.results import IngestResult, SkippedSession, TakenSession
from flows.settings import project_of_run, run_settings
from recap_core.config.flows import ProjectConfig
from recap_core.errors import ConfigError, RecapError
from tasks.collection import ingest
from tasks.inbox import describe, find_sessions, known_recording
from tasks.store import open_store
from tasks.summaries import artifact_key, headline, label, table


@flow(name="ingest", flow_run_name=lambda: f"ingest-{project_of_run(flow_run.parameters)}")
def ingest_recordings(
    project: ProjectName,
    *,
    sessions: IngestChoice = IngestChoice(),
    settings: dict[str, Any] = {},  # noqa: B006 - Prefect shows it, nobody changes it
) -> IngestResult:
    """Take in finished sessions: from the project's inbox, or one that is named.

    A session is taken once. One that is still being recorded or copied is left for the next time,
    and the run says why. The next round that learns from recordings uses what was taken.

    Args:
        project: Whose settings and refs are used: project/robot.
        sessions: Which recorded sessions are taken in.
        settings: Any other setting, in the shape of recap.yaml; wins over the fields above.
    """
    return take_in(run_settings(project, settings=settings), sessions)


def take_in(config: ProjectConfig, sessions: IngestChoice) -> IngestResult:
    """Ingest what has arrived whole, and say what was left alone and why.

    Raises:
        ConfigError: If no session is named and the project has no inbox.
        DataError: If there is no such directory.
    """
    place = sessions.session or config.iteration.inbox
    if place is None:
        raise ConfigError(
            f"no session is named and {config.project}/{config.robot} has no inbox: name a "
            "directory, or set iteration.inbox"
        )
    refs = ProjectRefs(open_store(), config)
    taken: list[TakenSession] = []
    skipped: list[SkippedSession] = []
    for session in find_sessions(Path(place).expanduser().absolute(), quiet_s=sessions.quiet_s):
        try:
            if session.problem is None:
                taken.append(_take(session.path, sessions, refs))
                continue
            reason = session.problem
        except RecapError as error:  # one bad session does not keep the others out
            reason = str(error)
        get_run_logger().warning("%s is left alone: %s", session.path, reason)
        skipped.append(SkippedSession(session=session.path.name, reason=reason))
    result = IngestResult(taken=tuple(taken), skipped=tuple(skipped))
    create_markdown_artifact(
        ingest_summary(result),
        key=artifact_key(f"ingest-{config.project}-{config.robot}"),
        description=f"{len(result.new_recordings)} new, {len(skipped)} left alone",
    )
    return result


def _take(session: Path, sessions: IngestChoice, refs: ProjectRefs) -> TakenSession:
    mode = None if sessions.mode == "as recorded" else sessions.mode
    described = describe(session, mode=mode, next_round=refs.next_round())
    recording = known_recording(described)
    if recording is None:
        recording = ingest(session, described, name=artifact_key(session.name)[:64] or "session")
    is_new = not refs.has_recording(recording)
    refs.keep_recording(recording)
    return TakenSession(session=session.name, recording=recording, is_new=is_new)


def ingest_summary(result: IngestResult) -> str:
    """Markdown: what is new, what was there, what was left alone."""
    new = [one for one in result.taken if one.is_new]
    rows = [(one.session, f"`{label(one.recording)}` {headline(one.recording)}") for one in new]
    known = len(result.taken) - len(new)
    parts = [
        f"# {len(new)} new sessions",
        table(("session", "recording"), rows),
        f"{known} were taken before." if known else "",
        table(("left alone", "why"), [(one.session, one.reason) for one in result.skipped]),
    ]
    return "\n\n".join(part for part in parts if part)
