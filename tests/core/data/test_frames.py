"""A dataset's columns as arrays."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_core.data.frames import column_to_numpy, read_frames
from recap_core.errors import ColumnError, DataError

DATA = "data/chunk-000/file-000.parquet"


def test_episodes_of_a_known_dataset(dataset: Path) -> None:
    """Lengths, starts, outcomes, tasks and flags of the four synthetic episodes."""
    table = read_frames(dataset, ["reward", "adv_ind"])

    assert table.fps == 10
    assert table.episode_lengths.tolist() == [12, 15, 10, 9]
    assert table.episode_starts.tolist() == [0, 12, 27, 37]
    assert table.episode_ends.tolist() == [12, 27, 37, 46]
    assert table.success.tolist() == [True, True, False, False]
    assert table.episode_tasks.tolist() == [0, 0, 0, 1]
    assert np.flatnonzero(table.is_intervention).tolist() == [18, 19, 20, 31, 32]
    assert np.flatnonzero(table.is_paused).tolist() == [30]
    assert not table.is_demonstration.any()
    assert np.bincount(table.episode_index).tolist() == [12, 15, 10, 9]


def test_a_column_that_is_not_there(dataset: Path) -> None:
    """The error lists what is; a video is not a column."""
    with pytest.raises(ColumnError, match=r"has no column rewards; it has observation.state"):
        read_frames(dataset, ["rewards"])
    with pytest.raises(ColumnError, match="is a video"):
        read_frames(dataset).column("observation.images.head_camera")


def test_lists_of_one_are_scalars() -> None:
    """Other writers store scalars as lists of length one."""
    column = pa.chunked_array([pa.array([[1.0], [2.0]])])

    assert column_to_numpy(column).tolist() == [1.0, 2.0]


def test_empty_cells_are_refused() -> None:
    """A missing number must not become NaN or 0."""
    with pytest.raises(ColumnError, match="1 empty cells"):
        column_to_numpy(pa.chunked_array([pa.array([1, None])]))


def edit_info(root: Path, **values: object) -> None:
    path = root / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_dataset_without_rounds_and_phases(dataset: Path, tmp_path: Path) -> None:
    """Datasets from other tools: round 0, no source, no paused frame."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    episodes = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(episodes).drop_columns(["round", "source"])
    pq.write_table(table, episodes)
    info = json.loads((root / "meta" / "info.json").read_text())
    del info["features"]["phase"]
    edit_info(root, features=info["features"])

    frames = read_frames(root)

    assert frames.rounds.tolist() == [0, 0, 0, 0]
    assert frames.sources == ("", "", "", "")
    assert not frames.is_paused.any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"codebase_version": "v2.1"}, "version 'v2.1', but v3.0 is needed"),
        ({"total_frames": 45}, "have 46 frames, but info.json says 45"),
        ({"total_episodes": 5}, "4 rows in meta/episodes, but info.json says 5"),
    ],
)
def test_metadata_that_disagree(
    dataset: Path, tmp_path: Path, values: dict[str, object], message: str
) -> None:
    """Counts that do not fit are found before anything is computed."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    edit_info(root, **values)

    with pytest.raises(DataError, match=message):
        read_frames(root, ["reward"])


def test_files_that_are_missing_or_cut(dataset: Path, tmp_path: Path) -> None:
    """Each is one error that names the file."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    whole = (root / DATA).read_bytes()
    (root / DATA).write_bytes(whole[:-50])
    with pytest.raises(DataError, match=r"parquet file .*file-000.parquet cannot be read"):
        read_frames(root, ["reward"])

    table = pq.read_table(dataset / DATA)
    pq.write_table(table.slice(0, 40), root / DATA)
    with pytest.raises(ColumnError, match=r"reward of .* has 40 rows, but the episodes have 46"):
        read_frames(root, ["reward"])

    pq.write_table(table.drop_columns(["reward"]), root / DATA)
    with pytest.raises(ColumnError, match=r"has no column reward, but info.json does"):
        read_frames(root, ["reward"])

    shutil.copy(dataset / DATA, root / DATA)
    shutil.rmtree(root / "meta" / "episodes")
    with pytest.raises(DataError, match="has no meta/episodes"):
        read_frames(root, ["reward"])

    info = json.loads((root / "meta/info.json").read_text())
    del info["fps"]
    (root / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match="has no 'fps'"):
        read_frames(root)

    with pytest.raises(DataError, match="is no LeRobot dataset"):
        read_frames(tmp_path)
