"""A run that waits for a project's episodes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from recap_core.lineage.waiting import Waiting, note_waiting

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def wait_for_episodes(home: Path, project: str, *, run_name: str) -> None:
    """Note in the store that ``run_name`` waits for twenty of them, for a week."""
    note_waiting(
        home,
        Waiting(
            run="1",
            run_name=run_name,
            waits_for="episodes",
            project=project,
            num_episodes=20,
            since=SINCE,
            until=SINCE + timedelta(days=7),
        ),
    )
