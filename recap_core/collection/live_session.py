"""The directory of a live session: its marker, its summary, and what killed sessions have left.

Whatever is made appears by one rename, and whatever is deleted disappears by one, so that a kill
at any moment leaves episodes that are whole, one that is recognised as unfinished, or hidden
directories that :func:`recover` removes.
"""

import datetime as dt
import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from recap_core.collection.recorder import process_start_time
from recap_core.data.in_progress import IN_PROGRESS, METADATA, episode_state
from recap_core.data.open_session import IS_OPEN, SESSION_IN_PROGRESS, session_state
from recap_core.errors import EpisodeError
from recap_core.lineage.files import replace_file

logger = logging.getLogger(__name__)

SUMMARY = "session_summary.json"
OPENING, DISCARDED = ".opening_", ".discarded_"
"""Beginnings of the names of directories that are not yet, or no longer, there."""
MAX_SLUG = 50
UNMARKED_S = 60.0
"""A hidden session directory without a marker is another recorder's, about to write it, unless it
is older than this, seconds."""

type SessionMode = Literal["rollout", "demonstration", "evaluation"]


class SessionSettings(NamedTuple):
    """What a session is; the same for all its episodes."""

    task: str
    """Instruction, as the policy is given it."""
    mode: SessionMode = "rollout"
    round_index: int | None = None
    """0 for demonstrations, k for the rollouts of iteration k; None: ingestion decides."""
    metadata: Mapping[str, Any] = {}
    """Added to every ``metadata.json``, as JSON values."""


class Recovered(NamedTuple):
    """What :func:`recover` found in a directory of sessions."""

    num_removed: int
    """Unfinished episodes that were deleted."""
    num_kept: int
    """Unfinished episodes that were left for people."""
    sessions: tuple[str, ...] = ()
    """Killed sessions that have finished episodes, by name."""

    def sentence(self) -> str | None:
        """For the operator; None where nothing was found."""
        words = [
            f"{number} unfinished episode{'s' * (number != 1)} {done}"
            for number, done in ((self.num_removed, "removed"), (self.num_kept, "left for you"))
            if number
        ]
        if self.sessions:
            words.append(f"what was saved is whole, in {', '.join(self.sessions)}")
        return f"a recorder was killed before: {'; '.join(words)}" if words else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whose readers see the old content or the new; what is no JSON is text."""
    draft = path.with_name(f".{path.name}.partial")
    draft.unlink(missing_ok=True)  # a killed writer's
    text = json.dumps(content, indent=2, sort_keys=True, default=str) + "\n"
    replace_file(path, text, temporary=draft)


class LiveSession:
    """One session on disk; the summary is true after every episode.

    Args:
        base: Directory of sessions; made if it is missing.
        settings: What the session is.
        facts: Further entries of the summary.
        now_s: Unix time of its begin; in local time it is part of the name.

    Raises:
        EpisodeError: If the directory cannot be made.
    """

    def __init__(
        self, base: Path, settings: SessionSettings, facts: Mapping[str, Any], now_s: float
    ) -> None:
        self._header = {
            **facts,
            "task": settings.task,
            "mode": settings.mode,
            "start_time": now_s,
        }
        self._episodes: list[dict[str, Any]] = []
        self._num_begun = 0
        self.num_discarded = 0
        self.num_unsaved = 0
        """Episodes that could not be saved."""
        try:
            base.mkdir(parents=True, exist_ok=True)
            self.directory = self._make(base.absolute(), session_name(settings.task, now_s))
        except OSError as error:
            raise EpisodeError(
                f"no session can be recorded in {base} ({error}). Choose a directory that you may "
                "write to (base_dir)."
            ) from error

    def _make(self, base: Path, name: str) -> Path:
        """Make the session's directory under the first free name, its marker inside."""
        draft = base / f"{OPENING}{name}_{os.getpid()}"
        draft.mkdir()
        (draft / SESSION_IN_PROGRESS).write_text(_session_owner() + "\n")
        write_json(draft / SUMMARY, self._summary(is_open=True))
        number, target = 1, base / name
        while True:
            try:
                # Replaces no directory that holds something: two sessions never share one.
                return draft.rename(target)
            except OSError:
                if not target.exists():
                    shutil.rmtree(draft, ignore_errors=True)
                    raise
            number += 1
            target = base / f"{name}_{number}"

    def open_episode(self, now_s: float) -> Path:
        """Make the directory of the next episode, its marker inside.

        Args:
            now_s: Unix time; in local time it is part of the name.

        Raises:
            OSError: If it cannot be made.
        """
        name = f"episode_{_local(now_s):%Y%m%d_%H%M%S}_{self._num_begun:04d}"
        draft = self.directory / f"{OPENING}{name}"
        shutil.rmtree(draft, ignore_errors=True)  # an earlier try of this session
        draft.mkdir()
        (draft / IN_PROGRESS).write_text(episode_owner() + "\n")
        directory = draft.rename(self.directory / name)
        self._num_begun += 1
        return directory

    def add(self, name: str, metadata: Mapping[str, Any]) -> None:
        """Count a finished episode."""
        self._episodes.append(summary_entry(name, metadata))

    def write_summary(self, *, is_open: bool = True) -> None:
        """Write ``session_summary.json``.

        Raises:
            OSError: If it cannot be written.
        """
        write_json(self.directory / SUMMARY, self._summary(is_open=is_open))

    def close(self) -> None:
        """Write the last summary and give up the session.

        Raises:
            OSError: If it cannot be written.
        """
        self.write_summary(is_open=False)
        (self.directory / SESSION_IN_PROGRESS).unlink(missing_ok=True)

    def _summary(self, *, is_open: bool) -> dict[str, Any]:
        own = {"discarded": self.num_discarded, "unsaved": self.num_unsaved, IS_OPEN: is_open}
        return {**self._header, **own, **episode_counts(self._episodes)}


def session_name(task: str, now_s: float) -> str:
    """``<slug>_<YYYYmmdd_HHMMSS>``; a task without letters or digits is called ``session``."""
    slug = re.sub(r"[^a-z0-9]+", "_", task.lower()).strip("_")[:MAX_SLUG].strip("_")
    return f"{slug or 'session'}_{_local(now_s):%Y%m%d_%H%M%S}"


def summary_entry(name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the summary says about one episode."""
    kept = ("intervention_count", "num_intervention_steps", "duration_s", "dropped_images")
    return {
        "dir": name,
        "success": metadata["success"],
        "step_count": metadata["num_steps"],
        **{key: metadata[key] for key in (*kept, "timing") if key in metadata},
    }


def episode_counts(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts over the episodes of a session, and the list of them."""
    entries = list(entries)
    frames = sum(entry["step_count"] for entry in entries)
    seconds = sum(entry.get("duration_s", 0.0) for entry in entries)
    drops: dict[str, int] = {}
    for entry in entries:
        for camera, number in entry.get("dropped_images", {}).items():
            drops[camera] = drops.get(camera, 0) + number
    timings = [entry["timing"] for entry in entries if "timing" in entry]
    counts = {
        "episodes": len(entries),
        "successful": sum(entry["success"] for entry in entries),
        "duration_s": seconds,
        "num_steps": frames,
        "num_intervention_steps": sum(e.get("num_intervention_steps", 0) for e in entries),
        "dropped_images": drops,
        "per_episode": entries,
    }
    if timings and seconds > 0:
        counts["timing"] = {
            "mean_hz": (frames - len(entries)) / seconds,
            "worst_jitter_p99_ms": max(timing["jitter_p99_ms"] for timing in timings),
            "longest_step_ms": max(timing["longest_step_ms"] for timing in timings),
        }
    return counts


def delete_whole(directory: Path) -> None:
    """Delete an episode or a session: by one rename it is none any more, then its files go.

    Raises:
        OSError: If it cannot be deleted.
    """
    hidden = directory.with_name(DISCARDED + directory.name)
    directory.rename(hidden)
    shutil.rmtree(hidden)


def recover(base: Path, *, interrupted: Literal["delete", "keep"] = "delete") -> Recovered:
    """Put the sessions of a directory in order whose recorders were killed.

    An episode with a marker and metadata loses its marker; one without metadata is deleted, or
    kept for people. A summary that lacks the last episode is written again. Sessions, and episodes,
    whose recorder may be alive are left alone, here or on another machine.

    Args:
        base: Directory of sessions.
        interrupted: What becomes of unfinished episodes.
    """
    num_removed = num_kept = 0
    killed: list[str] = []
    directories = sorted(path for path in base.glob("*") if path.is_dir() and not path.is_symlink())
    for session in directories:
        try:
            if session_state(session) in {"recording", "elsewhere"}:
                continue
            if session.name.startswith(DISCARDED):
                shutil.rmtree(session)
            elif session.name.startswith(OPENING):
                _remove_half_made(session)
            elif not session.name.startswith("."):
                was_killed = (session / SESSION_IN_PROGRESS).exists()
                removed, kept = _recover_session(session, interrupted)
                num_removed, num_kept = num_removed + removed, num_kept + kept
                if was_killed and any(session.glob(f"episode_*/{METADATA}")):
                    killed.append(session.name)
        except (OSError, ValueError, KeyError) as error:
            logger.warning("%s is left as it is: it cannot be put in order (%s)", session, error)
    return Recovered(num_removed, num_kept, tuple(killed))


def _recover_session(session: Path, interrupted: Literal["delete", "keep"]) -> tuple[int, int]:
    was_ours = (session / SESSION_IN_PROGRESS).exists()
    num_removed = num_kept = 0
    for marker in sorted(session.glob(f"episode_*/{IN_PROGRESS}")):
        episode = marker.parent
        match episode_state(episode):
            case "finished":
                marker.unlink()
            case "interrupted" if interrupted == "delete":
                logger.warning("removing %s: its recording was interrupted", episode)
                delete_whole(episode)
                num_removed += 1
            case "interrupted":
                num_kept += 1
            case "recording":
                was_ours = False
    if was_ours:
        for hidden in (*session.glob(f"{OPENING}*"), *session.glob(f"{DISCARDED}*")):
            shutil.rmtree(hidden)
        _correct_summary(session)
        (session / SESSION_IN_PROGRESS).unlink()
    return num_removed, num_kept


def _correct_summary(session: Path) -> None:
    """Count the finished episodes again, if their number is not the summary's.

    A summary that is right stays as it is, byte by byte: the session may have been ingested.
    """
    (session / f".{SUMMARY}.partial").unlink(missing_ok=True)
    summary = json.loads((session / SUMMARY).read_text())
    found = sorted(session.glob(f"episode_*/{METADATA}"))
    if summary.get("episodes") == len(found):
        return
    entries = [summary_entry(path.parent.name, json.loads(path.read_text())) for path in found]
    write_json(session / SUMMARY, {**summary, **episode_counts(entries)})


def _remove_half_made(session: Path) -> None:
    is_marked = (session / SESSION_IN_PROGRESS).exists()
    if is_marked or time.time() - session.stat().st_mtime > UNMARKED_S:
        delete_whole(session)


def episode_owner() -> str:
    """The line of an episode's marker: process id and when it started, kernel ticks."""
    return f"{os.getpid()} {process_start_time(os.getpid())}".strip()


def _session_owner() -> str:
    started = process_start_time(os.getpid()) or "0"
    return f"{os.getpid()} {started} {socket.gethostname()}"


def _local(now_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(now_s, dt.UTC).astimezone()
