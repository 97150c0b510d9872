"""Sessions that robots copied: which have arrived whole, and why the others are left alone."""

import os
import shutil
from pathlib import Path

import pytest

from recap_core.data.inbox import find_sessions
from recap_core.errors import DataError

NOW_S = 4e9
"""Later than any test."""


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Two sessions of two episodes each; only the shape matters here."""
    for session in ("monday", "tuesday"):
        for name in ("episode_000", "episode_001"):
            (tmp_path / session / name).mkdir(parents=True)
            (tmp_path / session / name / "metadata.json").write_text("{}")
        (tmp_path / session / "session_summary.json").write_text('{"episodes": 2}')
    return tmp_path


def problems(place: Path, *, now_s: float = NOW_S, quiet_s: float = 60.0) -> dict[str, str | None]:
    found = find_sessions(place, now_s=now_s, quiet_s=quiet_s)
    return {session.path.name: session.problem for session in found}


def test_whole_sessions_are_taken(inbox: Path) -> None:
    """All of an inbox, or the one that is named."""
    (inbox / ".trash").mkdir()
    (inbox / "notes.txt").write_text("not a session")

    assert problems(inbox) == {"monday": None, "tuesday": None}
    assert problems(inbox / "monday") == {"monday": None}


@pytest.mark.parametrize(
    ("removed", "problem"),
    [
        ("session_summary.json", "has no session_summary.json"),
        ("episode_001/metadata.json", "1 of the 2 episodes of its session_summary.json"),
        ("episode_001", "1 of the 2 episodes of its session_summary.json"),
    ],
)
def test_a_half_copied_session_is_left_alone(inbox: Path, removed: str, problem: str) -> None:
    """Whatever has not arrived; the others are taken."""
    path = inbox / "monday" / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    found = problems(inbox)

    assert problem in (found["monday"] or "")
    assert found["tuesday"] is None


def test_a_summary_that_is_half_written_is_not_whole(inbox: Path) -> None:
    """It is the last file to arrive."""
    (inbox / "monday" / "session_summary.json").write_text('{"episodes":')

    assert "has not arrived whole" in (problems(inbox)["monday"] or "")


def test_a_session_that_still_changes_is_left_alone(inbox: Path) -> None:
    """Also if the copy keeps the original's times of modification."""
    file = inbox / "monday" / "episode_000" / "metadata.json"
    os.utime(file, (0, 0))
    changed_s = file.stat().st_ctime

    assert "5 s ago, less than 60 s" in (problems(inbox, now_s=changed_s + 5)["monday"] or "")
    assert problems(inbox, now_s=changed_s + 100) == {"monday": None, "tuesday": None}


def test_an_episode_that_is_being_recorded_keeps_its_session_out(inbox: Path) -> None:
    """Its recorder's marker says so."""
    (inbox / "monday" / "episode_001" / "RECORDING_IN_PROGRESS").write_text("")

    assert problems(inbox)["monday"] == "episode_001 is still being recorded"


def test_a_named_session_needs_no_summary(inbox: Path) -> None:
    """Not every recorder writes one; who names a session knows that it has ended."""
    (inbox / "monday" / "session_summary.json").unlink()

    assert problems(inbox / "monday") == {"monday": None}


def test_a_missing_inbox_is_named(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(DataError, match=r"no directory .*nowhere.*iteration\.inbox"):
        find_sessions(tmp_path / "nowhere", now_s=NOW_S, quiet_s=0.0)
