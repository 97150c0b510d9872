"""Sessions that robots copy into a directory: which of them have arrived whole."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recap_core.data.in_progress import episode_state
from recap_core.data.open_session import IS_OPEN, SESSION_IN_PROGRESS, session_state
from recap_core.data.session import SUMMARY
from recap_core.errors import DataError


class FoundSession(NamedTuple):
    """A session directory, as it is now."""

    path: Path
    problem: str | None
    """Why it is to be left alone; None: it has arrived whole."""


def find_sessions(place: Path, *, now_s: float, quiet_s: float) -> list[FoundSession]:
    """The sessions of an inbox, by name; or the one session that ``place`` itself is.

    A session of an inbox has arrived whole if its recorder has written its summary, all episodes
    that the summary counts are there and finished, nothing in it has changed for a while, and
    nobody records into it. A recorder that writes its summary after every episode may have been
    killed: the session is whole if its summary counts what is there. Of a session that a person
    names no summary is asked, for not every recorder writes one.

    Args:
        place: An inbox, which holds a directory per session; or one session.
        now_s: The time now, Unix seconds.
        quiet_s: How long nothing may have changed, seconds.

    Raises:
        DataError: If there is no such directory.
    """
    if not place.is_dir():
        raise DataError(
            f"there is no directory {place}. Name a session or an inbox, or set iteration.inbox"
        )
    if _episodes(place):
        return [_look(place, now_s, quiet_s, needs_summary=False)]
    sessions = [path for path in sorted(place.iterdir()) if path.is_dir()]
    visible = [path for path in sessions if not path.name.startswith(".")]
    return [_look(path, now_s, quiet_s, needs_summary=True) for path in visible]


def _look(session: Path, now_s: float, quiet_s: float, *, needs_summary: bool) -> FoundSession:
    try:
        problem = _problem(session, now_s, quiet_s, needs_summary=needs_summary)
    except OSError as error:  # it is being moved, or may not be read
        problem = f"it cannot be read ({error})"
    except ValueError as error:
        problem = f"its {SUMMARY} has not arrived whole ({error})"
    return FoundSession(session, problem)


def _problem(session: Path, now_s: float, quiet_s: float, *, needs_summary: bool) -> str | None:
    path = session / SUMMARY
    if needs_summary and not path.is_file():
        return f"it has no {SUMMARY}, which a recorder writes at the end of a session"
    summary = _read_summary(path)
    states = {episode.name: episode_state(episode) for episode in _episodes(session)}
    recording = [name for name, state in states.items() if state == "recording"]
    if recording:
        return f"{recording[0]} is still being recorded"
    if open_problem := _why_open(session, is_open=summary.get(IS_OPEN) is not False):
        return open_problem
    quiet = now_s - _last_change_s(session)
    if quiet < quiet_s:
        return f"something in it changed {max(quiet, 0):.0f} s ago, less than {quiet_s:g} s"
    num_finished = sum(state == "finished" for state in states.values())
    return _wrong_count(num_finished, summary)


def _why_open(session: Path, *, is_open: bool) -> str | None:
    """Why a session may still grow; a marker that only a copy has kept does not count."""
    match session_state(session):
        case "recording":
            return "it is still being recorded"
        case "elsewhere" if is_open:
            return (
                "it was being recorded on another machine when it was copied: copy it again when "
                f"that session has ended, or, if its recorder was killed, delete its "
                f"{SESSION_IN_PROGRESS}"
            )
    return None


def _wrong_count(num_finished: int, summary: Mapping[str, Any]) -> str | None:
    """What is wrong with the number of finished episodes."""
    expected = summary.get("episodes")  # None where a recorder does not say
    if isinstance(expected, int) and num_finished < expected:
        return f"{num_finished} of the {expected} episodes of its {SUMMARY} have arrived"
    # Such a summary is put right by the next session, and would then be another recording.
    if summary.get(IS_OPEN) is True and num_finished != expected:
        return (
            f"its recorder was killed before its {SUMMARY} counted the last of {num_finished} "
            "episodes: begin the next session beside it, which puts that right"
        )
    return None if num_finished else "it holds no finished episode"


def _episodes(session: Path) -> list[Path]:
    return [path for path in sorted(session.glob("episode_*")) if path.is_dir()]


def _last_change_s(session: Path) -> float:
    """When anything in the session last changed on this machine.

    A copy may keep the times of the original's content, never those of its inode.
    """
    return max(path.lstat().st_ctime for path in _everything(session))


def _everything(session: Path) -> Iterator[Path]:
    yield session
    yield from session.rglob("*")


def _read_summary(path: Path) -> Mapping[str, Any]:
    """What the recorder says; empty if it says nothing.

    Raises:
        ValueError: If the summary is not whole.
    """
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
