"""What the doctor says about an inbox."""

import os
from pathlib import Path

import pytest

from recap_core.data.checks.finding import Finding
from recap_core.stages.check_inbox import check_inbox

NOW_S = 4e9
"""Later than any test."""
MEMORY = Path("/dev/shm")  # noqa: S108 - nothing is written


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Two sessions of one episode; the second one's summary has not come yet."""
    for session in ("monday", "tuesday"):
        episode = tmp_path / "inbox" / session / "episode_000"
        episode.mkdir(parents=True)
        (episode / "metadata.json").write_text("{}")
    (tmp_path / "inbox/monday/session_summary.json").write_text('{"episodes": 1}')
    return tmp_path / "inbox"


def found(inbox: Path, home: Path) -> list[Finding]:
    return check_inbox(inbox, home, now_s=NOW_S, quiet_s=60.0)


def test_what_is_taken_and_what_is_left_alone(inbox: Path, tmp_path: Path) -> None:
    """A session that has not arrived whole is named; on one file system nothing is copied."""
    half, whole = found(inbox, tmp_path / "home")

    assert (half.severity, half.where.file) == ("warning", str(inbox / "tuesday"))
    assert "has no session_summary.json" in half.value
    assert (whole.severity, whole.value) == ("note", "1 of 2 sessions have arrived whole")


def test_an_inbox_that_is_not_there(tmp_path: Path) -> None:
    """With the setting that names it."""
    (missing,) = found(tmp_path / "nowhere", tmp_path)

    assert missing.severity == "error"
    assert "nowhere" in missing.value
    assert "iteration.inbox" in missing.fix


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_inbox_that_may_not_be_read(inbox: Path, tmp_path: Path) -> None:
    """Its sessions could not be seen at all."""
    inbox.chmod(0)
    try:
        (closed,) = found(inbox, tmp_path)
    finally:
        inbox.chmod(0o755)

    assert (closed.severity, closed.value) == ("error", "it may not be read")


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs a second file system")
def test_sessions_on_another_file_system_are_copied(inbox: Path) -> None:
    """What that costs is said, with the two places that should be on one."""
    home = MEMORY / "recap-home-that-is-not-there"
    if MEMORY.stat().st_dev == inbox.stat().st_dev:
        pytest.skip("temporary files are there, too")

    far = next(one for one in found(inbox, home) if "file system" in one.value)

    assert (far.severity, far.where.file, far.num_places) == ("warning", str(inbox / "monday"), 1)
    assert "0.00 GB are copied" in far.rule


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_session_of_another_user_is_copied(inbox: Path, tmp_path: Path) -> None:
    """Who may still write to a file shares it with no store; a read-only file is shared by root."""
    metadata = inbox / "monday/episode_000/metadata.json"
    os.chown(metadata, 12345, 12345)
    foreign = [one for one in found(inbox, tmp_path) if "another user" in one.value]
    metadata.chmod(0o444)
    shared = [one for one in found(inbox, tmp_path) if "another user" in one.value]

    assert [one.where.file for one in foreign] == [str(inbox / "monday")]
    assert not shared
