"""Outcomes from a CSV file."""

from pathlib import Path

import pytest

from recap_core.data.episode_outcomes import read_outcomes
from recap_core.errors import DataError


def test_every_way_to_say_it(tmp_path: Path) -> None:
    """Words in any case, a byte order mark, blanks, other columns, any order."""
    path = tmp_path / "marks.csv"
    lines = ["episode_index,note,success", "2,,FAILURE", "0,a,1", "1, b , true", "3,,0"]
    path.write_text("\ufeff" + "\r\n".join([*lines, "4,,Success", "5,,false"]), encoding="utf-8")

    assert read_outcomes(path) == (
        *((0, True), (1, True), (2, False)),
        *((3, False), (4, True), (5, False)),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"episode_index,success\n0,1\n0,0\n", r"line 3 of .*: episode 0 appears twice"),
        (b"episode_index,success\n0,maybe\n", r"line 2 of .*: success is 'maybe', not one of 1,"),
        (b"episode_index,success\n0,\n", r"success is ''"),
        (b"episode_index,success\n-1,1\n", r"episode_index is '-1', not a whole number"),
        (b"episode_index,success\n1.0,1\n", r"episode_index is '1.0'"),
        (b"episode_index;success\n0;1\n", r"begins with 'episode_index;success'; its first line"),
        (b"0,1\n1,0\n", r"begins with '0,1'"),
        (b"", r"begins with ''"),
        (b"episode_index,success\n0,\xff\n", r"cannot be read"),
        (b'episode_index,success\n0,"1\n', r"cannot be read"),
    ],
)
def test_a_file_that_says_something_else(tmp_path: Path, content: bytes, message: str) -> None:
    """One error with the line and the value."""
    path = tmp_path / "marks.csv"
    path.write_bytes(content)

    with pytest.raises(DataError, match=message):
        read_outcomes(path)


def test_no_file(tmp_path: Path) -> None:
    """A path that does not exist is named."""
    with pytest.raises(DataError, match=r"outcomes .*marks.csv cannot be read"):
        read_outcomes(tmp_path / "marks.csv")
