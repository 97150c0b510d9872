"""Datasets that LeRobot's own writer made become RECAP datasets."""

import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recap_core.config.import_dataset import ImportConfig
from recap_core.data.adopt import adopt_dataset
from recap_core.data.frames import read_frames
from recap_core.data.import_record import read_import_record
from recap_core.data.layout import read_meta
from recap_core.data.lerobot_bridge import open_dataset
from recap_core.data.merge import merge_datasets
from tests.core.data.foreign_datasets import DATA, EPISODES, RECAP, TOP, VIDEO, adopt, at_end, tree


def test_the_columns_of_a_dagger_recording(adopted: Path) -> None:
    """Boolean intervention and next.success become the five columns, computed by hand here."""
    table = read_frames(adopted)

    assert table.column("intervention").tolist() == [0, 0, 1, 1, 0] + [0] * 10
    assert table.column("intervention").dtype == np.int64
    assert table.column("reward").tolist() == at_end([1, 0, 1])
    assert table.column("adv_ind").tolist() == ["none"] * 2 + ["positive"] * 2 + ["none"] * 11
    assert table.column("phase").tolist()[1:4] == ["autonomous", "correcting", "correcting"]
    np.testing.assert_allclose(
        table.column("value_label"),
        [-0.8, -0.6, -0.4, -0.2, 0, *[-1] * 6, -0.75, -0.5, -0.25, 0],
        rtol=1e-6,
    )
    np.testing.assert_allclose(table.column("reward_label")[:6], [*[-0.2] * 4, 0, -1 / 6])


def test_lerobot_reads_the_same_frames_as_before(foreign: Path, adopted: Path) -> None:
    """Pictures, columns and task texts are equal; only the RECAP columns differ."""
    before, after = open_dataset(foreign), open_dataset(adopted)

    assert len(after) == len(before) == 15
    for index in range(15):
        old, new = cast("dict[str, Any]", before[index]), cast("dict[str, Any]", after[index])
        assert set(new) - set(old) == set(RECAP) - {"intervention"}
        for name, value in old.items():
            if isinstance(value, str):
                assert new[name] == value
            else:
                np.testing.assert_array_equal(new[name].numpy(), value.numpy())


def test_videos_are_shared_and_the_source_is_untouched(foreign: Path, tmp_path: Path) -> None:
    """Same inode, or a copy on request; every file of the source keeps its bytes."""
    before = tree(foreign)

    adopt_dataset(foreign, tmp_path / "linked", ImportConfig())
    adopt_dataset(foreign, tmp_path / "copied", ImportConfig(), copies=True)

    assert tree(foreign) == before
    assert (tmp_path / "linked" / VIDEO).stat().st_ino == (foreign / VIDEO).stat().st_ino
    assert (tmp_path / "copied" / VIDEO).stat().st_ino != (foreign / VIDEO).stat().st_ino
    assert tree(tmp_path / "copied") == tree(tmp_path / "linked")


def test_metadata_and_statistics(foreign: Path, adopted: Path) -> None:
    """Robot, features, fixed-size lists, tasks, origin; statistics of new columns and of images."""
    old, new = read_meta(foreign), read_meta(adopted)

    assert (new.robot_type, new.fps, new.tasks) == ("so101", 10, ("lift", "push"))
    assert new.features[TOP]["info"] == old.features[TOP]["info"]
    assert new.features["intervention"] == {
        "dtype": "int64",
        "shape": [1],
        "names": ["intervention_flag"],
    }
    schema = pq.ParquetFile(adopted / DATA).schema_arrow
    assert schema.field("action").type == pa.list_(pa.float32(), 2)
    rows = new.episodes_with_statistics()
    assert rows.column("source").to_pylist() == ["lab-a"] * 3
    assert rows.column("round").to_pylist() == [1] * 3
    assert rows.column("raw_episode").to_pylist() == [f"episode_{i:06d}" for i in range(3)]
    assert rows.column("stats/reward/max").to_pylist() == [[1], [0], [1]]
    image = f"stats/{TOP}/mean"
    assert rows.column(image) == old.episodes_with_statistics().column(image)


def test_the_record_says_what_was_found(adopted: Path) -> None:
    """Counts, and where every column comes from."""
    record = read_import_record(adopted)

    assert (record.num_successes, record.num_intervention_frames) == (2, 2)
    assert record.made_from["outcome"] == "next.success true at any frame"
    assert record.made_from["intervention"] == "column intervention"
    assert record.cameras == {TOP: "shared"}


def test_an_imported_dataset_merges_with_our_own(
    adopted: Path, foreign: Path, tmp_path: Path
) -> None:
    """It has the features of every RECAP dataset; a second import is another round."""
    adopt(foreign, tmp_path / "demos", demonstrations=True, recompute=["intervention"])

    merge_datasets([tmp_path / "demos", adopted], tmp_path / "merged")

    table = read_frames(tmp_path / "merged")
    assert table.rounds.tolist() == [0] * 3 + [1] * 3
    assert table.is_demonstration.tolist() == [True] * 15 + [False] * 15
    assert table.success.tolist() == [True] * 4 + [False, True]


def test_importing_twice_gives_the_same_bytes(adopted: Path, tmp_path: Path) -> None:
    """A RECAP dataset is imported as it is: every column is kept."""
    table = adopt(adopted, tmp_path / "again")

    before = read_frames(adopted)
    for name in (*RECAP, "next.success", "note", "action"):
        np.testing.assert_array_equal(table.column(name), before.column(name))
    assert table.sources == ("lab-a",) * 3
    adopt(adopted, tmp_path / "third")
    assert tree(tmp_path / "third") == tree(tmp_path / "again")


def test_columns_and_cameras_get_other_names(foreign: Path, tmp_path: Path) -> None:
    """Everywhere: data, features, statistics, directories of videos; dropped ones are gone."""
    names = {"observation.state": "state", TOP: "observation.images.head_camera"}

    adopt(foreign, tmp_path / "out", rename=names, drop=("next.success", "note"))

    opened = open_dataset(tmp_path / "out")
    item = cast("dict[str, Any]", opened[14])
    assert item["state"].tolist() == [2, 3]
    assert abs(float(item["observation.images.head_camera"].float().mean()) - 190) < 4
    assert set(opened.meta.features) & {*names, "next.success", "note"} == set()
    assert opened.meta.stats is not None
    assert "state" in opened.meta.stats
    assert read_frames(tmp_path / "out").success.tolist() == [True, False, True]


def test_symbolic_links_are_content(foreign: Path, tmp_path: Path) -> None:
    """A download cache made of links gives the same dataset, of regular files."""
    cache, blobs = tmp_path / "snapshot", tmp_path / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(p for p in foreign.rglob("*") if p.is_file())):
        link = cache / path.relative_to(foreign)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, blobs / str(number))
        link.symlink_to(blobs / str(number))

    adopt(cache, tmp_path / "from_links", source="a")
    adopt(foreign, tmp_path / "from_files", source="a")

    assert tree(tmp_path / "from_links") == tree(tmp_path / "from_files")
    assert not any(path.is_symlink() for path in (tmp_path / "from_links").rglob("*"))


def test_images_in_parquet_become_videos(tmp_path: Path) -> None:
    """LeRobot's ``image`` features are encoded; pixels differ by the codec's loss only."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path / "in"
    image = {"dtype": "image", "shape": (32, 32, 3), "names": ["height", "width", "channels"]}
    written = LeRobotDataset.create(
        "local/images", fps=10, features={TOP: image}, root=root, use_videos=False
    )
    for t in range(3):
        written.add_frame({TOP: np.full((32, 32, 3), 50 + 40 * t, dtype=np.uint8), "task": "lift"})
    written.save_episode()
    written.finalize()

    adopt(root, tmp_path / "out", all_outcomes="success")

    opened = open_dataset(tmp_path / "out")
    for t in range(3):
        pixels = cast("dict[str, Any]", opened[t])[TOP].float()
        assert float((pixels - (50 + 40 * t)).abs().max()) < 4
    assert read_import_record(tmp_path / "out").cameras == {TOP: "encoded"}


def test_statistics_that_are_missing_come_from_the_pictures(foreign: Path, tmp_path: Path) -> None:
    """A dataset without image statistics gets them; LeRobot's own are near."""
    root = shutil.copytree(foreign, tmp_path / "in")
    rows = pq.read_table(root / EPISODES)
    stats = [name for name in rows.column_names if name.startswith(f"stats/{TOP}/")]
    pq.write_table(rows.drop_columns(stats), root / EPISODES)

    adopt(root, tmp_path / "out")

    name = f"stats/{TOP}/mean"
    found = read_meta(tmp_path / "out").episodes_with_statistics().column(name).to_pylist()
    np.testing.assert_allclose(found, rows.column(name).to_pylist(), atol=0.02)
