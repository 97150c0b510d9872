"""Files that appear whole or not at all."""

import errno
from pathlib import Path

import pytest

from recap_core.errors import ArtifactError, DataError, StageLockedError
from recap_core.lineage.atomic_file import atomic_file


def test_the_file_appears_at_the_end_and_nothing_else(tmp_path: Path) -> None:
    """Until the body ends the target does not exist; then it is all that is there."""
    target = tmp_path / "new" / "page.html"

    with atomic_file(target) as draft:
        draft.write_text("content")
        assert not target.exists()

    assert target.read_text() == "content"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    """Whatever the body raises passes through, and what was there stays."""
    target = tmp_path / "page.html"
    target.write_text("old")

    def fail_halfway(draft: Path) -> None:
        draft.write_text("half")
        raise KeyError

    with pytest.raises(KeyError), atomic_file(target, overwrite=True) as draft:
        fail_halfway(draft)

    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_exists_is_replaced_only_when_asked(tmp_path: Path) -> None:
    """A file that was there before, or came while the body ran, is kept."""
    target = tmp_path / "page.html"

    def write_while_another_comes(draft: Path) -> None:
        draft.write_text("new")
        target.write_text("came meanwhile")

    with pytest.raises(DataError, match="--force"), atomic_file(target) as draft:
        write_while_another_comes(draft)
    with pytest.raises(DataError, match="--force"), atomic_file(target) as draft:
        pytest.fail("the body must not run")
    assert target.read_text() == "came meanwhile"

    with atomic_file(target, overwrite=True) as draft:
        draft.write_text("new")
    assert target.read_text() == "new"


def test_a_killed_writer_s_draft_is_not_content(tmp_path: Path) -> None:
    """What a dead process left is gone before the next one writes."""
    (tmp_path / ".page.html.partial").write_text("half of another page")

    with atomic_file(tmp_path / "page.html") as draft:
        assert not draft.exists()
        draft.write_text("whole")

    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_two_writers_of_one_file_exclude_each_other(tmp_path: Path) -> None:
    """The second one is told who has it."""
    with atomic_file(tmp_path / "page.html") as draft:
        draft.write_text("first")
        with pytest.raises(StageLockedError), atomic_file(tmp_path / "page.html"):
            pytest.fail("the body must not run")


def test_a_directory_and_a_file_in_the_way_are_named(tmp_path: Path) -> None:
    """Neither is written into."""
    (tmp_path / "file").write_text("not a directory")

    with pytest.raises(DataError, match="is a directory"), atomic_file(tmp_path):
        pytest.fail("the body must not run")
    with pytest.raises(DataError, match="cannot be written"), atomic_file(tmp_path / "file" / "x"):
        pytest.fail("the body must not run")


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "no space left"), (errno.EIO, "of the disk")]
)
def test_a_full_disk_is_named(tmp_path: Path, *, number: int, message: str) -> None:
    """It becomes a message of our own; other failures of the disk pass through."""

    def fail_halfway(draft: Path) -> None:
        draft.write_text("half")
        raise OSError(number, "of the disk")

    kind = ArtifactError if number == errno.ENOSPC else OSError
    with pytest.raises(kind, match=message), atomic_file(tmp_path / "page.html") as draft:
        fail_halfway(draft)

    assert list(tmp_path.iterdir()) == []
