"""Both formats on disk, against datasets that are committed (tests/golden/README.md)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recap_core.data.export_v21 import export_v21
from recap_core.data.frames import read_frames
from recap_core.data.import_v21 import import_v21
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from tests.core.data.shared_videos import assert_same_dataset, checksums, v30_checksums

GOLDEN = Path(__file__).parents[2] / "golden" / "datasets"
FORMATS = ("v30", "v21")
EPISODES = [
    SyntheticEpisode(length=4, interventions=(2,)),
    SyntheticEpisode(length=3, success=False, task="insert peg"),
]
ROBOT = SyntheticRobot(arms=("left",), num_joints=1, cameras=("head_camera",), image_px=16)


def write_both(directory: Path) -> None:
    """Write the dataset in both formats, as they are today."""
    write_synthetic_dataset(directory / "v30", EPISODES, ROBOT)
    export_v21(directory / "v30", directory / "v21")


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dataset, written now."""
    directory = tmp_path_factory.mktemp("golden")
    write_both(directory)
    return directory


def files(root: Path) -> list[Path]:
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("version", FORMATS)
def test_files_and_their_content_are_as_before(today: Path, version: str) -> None:
    """Paths, JSON, rows and schemas with their metadata, decoded pictures."""
    new, old = today / version, GOLDEN / version

    assert files(new) == files(old)
    for path in files(new):
        if path.suffix == ".parquet":
            ours, before = pq.read_table(new / path), pq.read_table(old / path)
            assert ours.schema.equals(before.schema, check_metadata=True), path
            assert ours.equals(before), path
        elif path.suffix == ".mp4":
            assert checksums(new / path) == checksums(old / path), path
        else:
            # Lines of JSON, or one document over all lines.
            lines = path.suffix == ".jsonl"
            ours, before = (
                [json.loads(part) for part in (text.splitlines() if lines else [text])]
                for text in ((root / path).read_text() for root in (new, old))
            )
            assert ours == before, path


def test_the_committed_v30_is_read(today: Path) -> None:
    """By our reader, every column and picture; LeRobot's: see test_lerobot_reader."""
    assert_same_dataset(GOLDEN / "v30", today / "v30")


def test_the_committed_v21_is_read(tmp_path: Path) -> None:
    """It holds what the v3.0 one holds."""
    import_v21(GOLDEN / "v21", tmp_path / "back")

    ours, original = read_frames(tmp_path / "back"), read_frames(GOLDEN / "v30")
    for name, feature in original.meta.features.items():
        if feature["dtype"] != "video":
            np.testing.assert_array_equal(ours.column(name), original.column(name))
    assert (ours.fps, ours.tasks) == (original.fps, original.tasks)
    assert v30_checksums(tmp_path / "back") == v30_checksums(GOLDEN / "v30")


if __name__ == "__main__":
    shutil.rmtree(GOLDEN, ignore_errors=True)
    write_both(GOLDEN)
