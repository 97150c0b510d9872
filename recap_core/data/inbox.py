"""Sessions that robots copy into a directory: which of them have arrived whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recap_core.data.in_progress import episode_state
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
    that the summary counts are there and finished, and nothing in it has changed for a while. Of a
    session that a person names no summary is asked, for not every recorder writes one.

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
    summary = session / SUMMARY
    if needs_summary and not summary.is_file():
        return f"it has no {SUMMARY}, which a recorder writes at the end of a session"
    episodes = _episodes(session)
    states = {path.name: episode_state(path) for path in episodes}
    recording = [name for name, state in states.items() if state == "recording"]
    if recording:
        return f"{recording[0]} is still being recorded"
    quiet = now_s - _last_change_s(session)
    if quiet < quiet_s:
        return f"something in it changed {max(quiet, 0):.0f} s ago, less than {quiet_s:g} s"
    num_finished = sum(state == "finished" for state in states.values())
    expected = _expected_episodes(summary)
    if expected is not None and num_finished < expected:
        return f"{num_finished} of the {expected} episodes of its {SUMMARY} have arrived"
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


def _expected_episodes(summary: Path) -> int | None:
    """How many episodes the recorder says it has kept; None if it does not say.

    Raises:
        ValueError: If the summary is not whole.
    """
    if not summary.is_file():
        return None
    content = json.loads(summary.read_text(encoding="utf-8"))
    count = content.get("episodes") if isinstance(content, dict) else None
    return count if isinstance(count, int) else None
