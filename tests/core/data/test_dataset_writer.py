"""The v3.0 writer, beyond what conversion and merging show of it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recap_core.data.columns import ACTION, vector_feature
from recap_core.data.dataset_writer import DatasetWriter, Origin
from recap_core.data.frames import read_frames
from recap_core.data.layout import read_meta
from recap_core.errors import ColumnError, DataError

FEATURES = {ACTION: vector_feature(["x", "y"])}


def add(writer: DatasetWriter, number: int, **columns: np.ndarray) -> None:
    action = np.full((3, 2), number, dtype=np.float32)
    writer.add_episode(
        {ACTION: action, **columns},
        task=f"task {number % 2}",
        origin=Origin("here", number, ""),
        videos={},
        image_statistics={},
    )


def test_many_episodes(tmp_path: Path) -> None:
    """More than are kept in memory: metadata of all, statistics of the whole."""
    with DatasetWriter(tmp_path, FEATURES, fps=10) as writer:
        for number in range(250):
            add(writer, number)
        summary = writer.finish()

    assert (summary.num_episodes, summary.num_rounds, summary.num_frames) == (250, 250, 750)
    table = read_frames(tmp_path)
    assert table.rounds.tolist() == list(range(250))
    assert table.column(ACTION)[:, 0].tolist() == np.repeat(range(250), 3).tolist()
    stats = read_meta(tmp_path).root / "meta/stats.json"
    assert '"count": [\n            750\n' in stats.read_text()


def test_a_full_data_file_is_followed_by_another(tmp_path: Path) -> None:
    """The reader sees one dataset; meta/episodes says where every episode is."""
    with DatasetWriter(tmp_path, FEATURES, fps=10, max_data_file_mb=1e-6) as writer:
        for number in range(3):
            add(writer, number)
        writer.finish()

    assert len(read_meta(tmp_path).data_files) == 3
    assert read_meta(tmp_path).episode_column("data/file_index").tolist() == [0, 1, 2]
    assert read_frames(tmp_path).column(ACTION)[:, 1].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert pq.ParquetFile(read_meta(tmp_path).data_files[1]).num_row_groups == 1


def test_video_files_are_spread_over_directories(tmp_path: Path) -> None:
    """A thousand files per chunk directory, as LeRobot lays them out."""
    writer = DatasetWriter(tmp_path, FEATURES, fps=10)
    places = [writer.new_video_file("observation.images.top") for _ in range(1001)]

    assert places[999][0].name == "file-999.mp4"
    assert places[1000][1:] == (1, 0)
    assert places[1000][0].parent.name == "chunk-001"


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", "..", "", "a\0b", "\ud800"])
def test_feature_names_stay_inside(tmp_path: Path, name: str) -> None:
    """They become directories, so none may be a path."""
    with pytest.raises(DataError, match="must be a plain name"):
        DatasetWriter(tmp_path / "out", {name: vector_feature(["x"])}, fps=10)


def test_columns_must_be_the_features(tmp_path: Path) -> None:
    """Unknown, missing or misshapen: the error names episode and column."""
    with DatasetWriter(tmp_path, FEATURES, fps=10) as writer:
        add(writer, 0)
        with pytest.raises(ColumnError, match="episode 1 has columns that are no features: extra"):
            add(writer, 1, extra=np.zeros(3))
        with pytest.raises(ColumnError, match=r"action of episode 1 has shape \(3, 3\)"):
            add(writer, 1, action=np.zeros((3, 3), dtype=np.float32))
    two = {**FEATURES, "observation.state": vector_feature(["x"])}
    with (
        DatasetWriter(tmp_path / "two", two, fps=10) as writer,
        pytest.raises(ColumnError, match=r"episode 0 lacks the column observation\.state"),
    ):
        add(writer, 0)


def test_a_feature_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Matrices have no column type here."""
    feature = {"dtype": "float32", "shape": [2, 2], "names": None}

    with pytest.raises(ColumnError, match=r"feature map has dtype float32 and shape \[2, 2\]"):
        DatasetWriter(tmp_path, {"map": feature}, fps=10)


def test_an_unfinished_dataset_is_no_dataset(tmp_path: Path) -> None:
    """info.json comes last, so whoever reads too early is told."""
    with DatasetWriter(tmp_path, FEATURES, fps=10) as writer:
        add(writer, 0)

    with pytest.raises(DataError, match="is no LeRobot dataset"):
        read_meta(tmp_path)
