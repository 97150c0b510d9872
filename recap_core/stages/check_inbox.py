"""What would keep the sessions of an inbox from being taken in, found before the night."""

import os
import shutil
from collections.abc import Generator
from pathlib import Path

from recap_core.data.checks.finding import SEVERITIES, Finding, Place, Severity, from_error
from recap_core.data.inbox import FoundSession, find_sessions
from recap_core.errors import DataError
from recap_core.lineage.files import WRITE_BITS

_GB = 1e9


def check_inbox(inbox: Path, home: Path, *, now_s: float, quiet_s: float) -> list[Finding]:
    """Everything that can be known without taking a session in; nothing is written.

    Args:
        inbox: Where robots copy their sessions, a directory each.
        home: Store that takes them in; it need not exist yet.
        now_s: The time now, Unix seconds.
        quiet_s: How long nothing may have changed in a session, seconds.

    Returns:
        Findings, errors first. A session that is only left for later is a note.
    """
    if inbox.is_dir() and not os.access(inbox, os.R_OK | os.X_OK):
        return [
            _finding("error", inbox, "it may not be read", "its sessions are taken in", _MAY_READ)
        ]
    try:
        sessions = find_sessions(inbox, now_s=now_s, quiet_s=quiet_s)
    except DataError as error:
        return [from_error(error, check="inbox", where=Place(file=str(inbox)))]
    findings = [*_left_alone(sessions), *_copies(sessions, home), _whole(inbox, sessions)]
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


_MAY_READ = "give the user that runs flows the right to read it"


def _left_alone(sessions: list[FoundSession]) -> Generator[Finding]:
    for session in sessions:
        if session.problem is not None:
            yield _finding(
                "warning", session.path, session.problem, "it is left alone until it is whole",
                "nothing, if it is still being copied; else copy it again",
            )  # fmt: skip


def _copies(sessions: list[FoundSession], home: Path) -> Generator[Finding]:
    """Sessions whose files cannot be shared with the store need their size again."""
    there = next(path for path in (home, *home.parents) if path.exists())
    whole = [session.path for session in sessions if session.problem is None]
    far = [path for path in whole if path.stat().st_dev != there.stat().st_dev]
    foreign = [path for path in whole if path not in far and _is_foreign(path)]
    for paths, reason, fix in (
        (far, f"another file system than {home}", "put the inbox and RECAP_HOME on one"),
        (foreign, "it belongs to another user", "copy sessions as the user that runs flows"),
    ):
        if not paths:
            continue
        size, free = sum(map(_bytes, paths)), shutil.disk_usage(there).free
        cost = f"{size / _GB:.2f} GB are copied, {free / _GB:.1f} GB are free"
        severity = "error" if size > free else "warning"
        finding = _finding(severity, paths[0], reason, f"hard links cost nothing; {cost}", fix)
        yield finding.model_copy(update={"num_places": len(paths)})


def _is_foreign(session: Path) -> bool:
    """Whether a file of it is not shared because of whose it is."""
    user = os.geteuid()
    found = (path.lstat() for path in session.rglob("*") if path.is_file())
    # Whoever may go on writing to a file keeps it; all but root keep to files of their own.
    return any(one.st_uid != user and (user or one.st_mode & WRITE_BITS) for one in found)


def _whole(inbox: Path, sessions: list[FoundSession]) -> Finding:
    number = sum(session.problem is None for session in sessions)
    value = f"{number} of {len(sessions)} sessions have arrived whole"
    return _finding("note", inbox, value, "the next night, or the flow ingest, takes them in", "")


def _bytes(session: Path) -> int:
    return sum(path.lstat().st_size for path in session.rglob("*") if path.is_file())


def _finding(severity: Severity, path: Path, value: str, rule: str, fix: str) -> Finding:
    place = Place(file=str(path))
    return Finding(severity=severity, check="inbox", where=place, value=value, rule=rule, fix=fix)
