"""Windows over a dataset's columns."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recap_core.data.frame_windows import frame_windows
from recap_core.data.frames import read_frames
from recap_core.data.layout import read_meta
from recap_core.errors import ColumnError

NAMES = ("action", "frame_index")


@pytest.mark.parametrize("num_frames", [1, 5, 12, 13, 46, 100])
def test_every_frame_comes_once_with_its_whole_episode(dataset: Path, num_frames: int) -> None:
    """Episodes of 12, 15, 10 and 9 frames, whatever the window."""
    table = read_frames(dataset)

    windows = list(frame_windows(read_meta(dataset), NAMES, num_frames=num_frames))

    frames = np.concatenate([window.frames for window in windows])
    np.testing.assert_array_equal(frames, np.arange(46))
    assert {len(window.frames) for window in windows[:-1]} <= {num_frames}
    for window in windows:
        rows = slice(window.first, window.first + len(window.columns["action"]))
        episodes = np.unique(table.episode_index[window.frames])
        assert rows.start == table.episode_starts[episodes[0]]
        assert rows.stop >= table.episode_ends[episodes[-1]]
        for name in NAMES:
            np.testing.assert_array_equal(window.columns[name], table.column(name)[rows])


def test_a_window_holds_no_more_than_it_needs(dataset: Path) -> None:
    """Rows that are done with are dropped: what memory stays flat by."""
    windows = list(frame_windows(read_meta(dataset), NAMES, num_frames=5))

    assert all(a.first <= b.first for a, b in pairwise(windows))
    assert max(len(window.columns["action"]) for window in windows) <= 15 + 5 + 15


@pytest.mark.parametrize("num_rows", [30, 45])
def test_missing_rows_are_counted(dataset: Path, tmp_path: Path, num_rows: int) -> None:
    """Rows and frames, both numbers."""
    root = shutil.copytree(dataset, tmp_path / "cut")
    path = root / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).slice(0, num_rows), path)

    with pytest.raises(ColumnError, match=f"hold {num_rows} rows, but the episodes have 46"):
        list(frame_windows(read_meta(root), NAMES, num_frames=8))


def test_rows_out_of_order_are_refused(dataset: Path, tmp_path: Path) -> None:
    """Their windows would mix episodes."""
    root = shutil.copytree(dataset, tmp_path / "shuffled")
    path = root / "data/chunk-000/file-000.parquet"
    order = np.arange(46)
    order[[20, 21]] = 21, 20
    pq.write_table(pq.read_table(path).take(order), path)

    with pytest.raises(ColumnError, match=r"index of row 20 .* is 21, but must be 20 \(2 of"):
        list(frame_windows(read_meta(root), NAMES, num_frames=64))
