"""What an interrupted session has left behind."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from recap_core.collection.recorder import IN_PROGRESS, METADATA, process_start_time
from recap_core.errors import EpisodeError

logger = logging.getLogger(__name__)


def sweep_unfinished(session: Path) -> int:
    """Remove episodes that were being recorded when their process died; returns how many.

    A directory with metadata was complete but for its marker, which is taken away.

    Raises:
        EpisodeError: If another live process is recording into the session.
    """
    num_removed = 0
    for marker in sorted(session.glob(f"episode_*/{IN_PROGRESS}")):
        if _owner_is_alive(marker):
            raise EpisodeError(
                f"{marker.parent} is being recorded by live process {marker.read_text().strip()!r}"
                "; wait for it, or record into another directory."
            )
        if (marker.parent / METADATA).exists():
            marker.unlink()
            continue
        logger.warning("removing %s: its recording was interrupted", marker.parent)
        shutil.rmtree(marker.parent)
        num_removed += 1
    return num_removed


def complete_episodes(session: Path, expected: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Metadata of the finished episodes of a session, by attempt.

    Args:
        session: The session directory.
        expected: Entries that must be in every episode's metadata: the session's settings.

    Raises:
        EpisodeError: If an episode was recorded with other settings.
    """
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(session.glob(f"episode_*/{METADATA}")):
        metadata = json.loads(path.read_text())
        differing = [key for key, value in expected.items() if metadata.get(key) != value]
        if differing:
            raise EpisodeError(
                f"{path.parent} was recorded with other settings ({', '.join(differing)} differ); "
                "a session cannot mix them. Record into an empty directory."
            )
        found[metadata["attempt"]] = metadata
    return found


def _owner_is_alive(marker: Path) -> bool:
    pid, _, started = marker.read_text().strip().partition(" ")
    return pid.isdigit() and started != "" and process_start_time(int(pid)) == started
