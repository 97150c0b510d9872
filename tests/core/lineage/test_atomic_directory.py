"""Directories that appear whole or not at all."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from recap_core.errors import DataError, StageLockedError
from recap_core.lineage.atomic_directory import atomic_directory


def test_the_directory_appears_at_the_end_and_nothing_else(tmp_path: Path) -> None:
    """Until the body ends the target does not exist; then it is all that is there."""
    target = tmp_path / "export"

    with atomic_directory(target) as draft:
        (draft / "inner").mkdir()
        (draft / "inner" / "file").write_text("content")
        assert not target.exists()

    assert (target / "inner" / "file").read_text() == "content"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    """Whatever the body raises passes through, and the parent is as empty as before."""

    def fail_halfway(draft: Path) -> None:
        (draft / "file").write_text("half")
        raise KeyError

    with pytest.raises(KeyError), atomic_directory(tmp_path / "export") as draft:
        fail_halfway(draft)

    assert list(tmp_path.iterdir()) == []


def test_a_full_target_is_refused(tmp_path: Path) -> None:
    """What exists is never overwritten; an empty directory may be filled."""
    target = tmp_path / "export"
    target.mkdir()
    with atomic_directory(target) as draft:
        (draft / "file").write_text("first")

    with pytest.raises(DataError, match="not empty"), atomic_directory(target):
        pass
    assert (target / "file").read_text() == "first"


def test_two_builders_of_one_target_exclude_each_other(tmp_path: Path) -> None:
    """The second one is told at once who is building."""
    with (
        atomic_directory(tmp_path / "export") as draft,
        pytest.raises(StageLockedError, match=f"pid {os.getpid()}"),
        atomic_directory(tmp_path / "export"),
    ):
        pass
    assert not draft.exists()


def _killed_builder(target: Path) -> None:
    with atomic_directory(target) as draft:
        (draft / "stale").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_builder_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    """SIGKILL leaves no target; the next builder starts from an empty draft."""
    target = tmp_path / "export"
    process = multiprocessing.get_context("spawn").Process(target=_killed_builder, args=(target,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not target.exists()

    with atomic_directory(target) as draft:
        assert list(draft.iterdir()) == []
        (draft / "file").write_text("whole")

    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert [path.name for path in target.iterdir()] == ["file"]
