"""Several datasets into one."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_core.config.dataset import ConvertConfig
from recap_core.data.annotations import Correction, EpisodeKey
from recap_core.data.frames import read_frames
from recap_core.data.layout import read_meta
from recap_core.data.merge import merge_datasets
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.data.video import iter_camera_blocks
from recap_core.errors import ColumnError, ConfigError, DataError, IncompatibleError

DATA = "data/chunk-000/file-000.parquet"


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demos") / "demonstrations"
    write_synthetic_dataset(
        root,
        [SyntheticEpisode(length=7, demonstration=True, task="insert peg")] * 2,
        SyntheticRobot(environment_dims=3),
        config=ConvertConfig(demonstrations=True),
        round_index=0,
        source="teaching",
    )
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).digest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_rows_are_renumbered_and_otherwise_kept(
    demonstrations: Path, dataset: Path, tmp_path: Path
) -> None:
    """Indices run on, tasks are matched by text, every other column is the sources'."""
    before = tree(dataset)

    summary = merge_datasets([demonstrations, dataset], tmp_path / "merged")

    merged = read_frames(tmp_path / "merged")
    parts = [read_frames(demonstrations), read_frames(dataset)]
    assert (summary.num_episodes, summary.num_frames, summary.num_rounds) == (6, 60, 2)
    assert summary.tasks == merged.tasks == ("insert peg", "transfer cube")
    assert merged.episode_tasks.tolist() == [0, 0, 1, 1, 1, 0]
    np.testing.assert_array_equal(merged.column("index"), np.arange(60))
    np.testing.assert_array_equal(merged.column("episode_index"), merged.episode_index)
    renumbered = {"index", "episode_index", "task_index"}
    for name, feature in merged.meta.features.items():
        if name not in renumbered and feature["dtype"] != "video":
            expected = np.concatenate([part.column(name) for part in parts])
            np.testing.assert_array_equal(merged.column(name), expected)
    assert tree(dataset) == before


def test_where_every_episode_comes_from_is_kept(
    demonstrations: Path, dataset: Path, tmp_path: Path
) -> None:
    """Source, round and raw episode of every episode."""
    merge_datasets([demonstrations, dataset], tmp_path / "merged")

    merged = read_frames(tmp_path / "merged")
    assert merged.rounds.tolist() == [0, 0, 1, 1, 1, 1]
    assert merged.sources == ("teaching",) * 2 + ("synthetic",) * 4
    assert merged.meta.episodes.column("raw_episode")[5].as_py() == "episode_20240101_120000_0003"


def test_videos_are_shared_not_copied(demonstrations: Path, dataset: Path, tmp_path: Path) -> None:
    """Every video of the result is a file of a source, and shows the same pictures."""
    merge_datasets([demonstrations, dataset], tmp_path / "merged")

    sources = {p.stat().st_ino for root in (demonstrations, dataset) for p in root.rglob("*.mp4")}
    videos = list((tmp_path / "merged").rglob("*.mp4"))
    assert len(videos) == 18
    assert {path.stat().st_ino for path in videos} == sources
    camera = "observation.images.left_wrist_camera"
    (merged,) = iter_camera_blocks(tmp_path / "merged", [camera], episodes=[2, 3, 4, 5])
    (original,) = iter_camera_blocks(dataset, [camera])
    np.testing.assert_array_equal(merged.images[camera], original.images[camera])


def test_a_dataset_can_be_given_twice(dataset: Path, tmp_path: Path) -> None:
    """Oversampling: the same episodes again, under new numbers."""
    summary = merge_datasets([dataset, dataset], tmp_path / "merged")

    assert (summary.num_episodes, summary.num_frames) == (8, 92)


def test_the_layout_of_row_groups_does_not_matter(dataset: Path, tmp_path: Path) -> None:
    """One row group per episode comes out, however the source is cut."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    table = pq.read_table(root / DATA)
    pq.write_table(table, root / DATA, row_group_size=17)

    merge_datasets([root], tmp_path / "merged")

    file = pq.ParquetFile(tmp_path / "merged" / DATA)
    assert [file.metadata.row_group(i).num_rows for i in range(4)] == [12, 15, 10, 9]
    np.testing.assert_array_equal(
        read_frames(tmp_path / "merged").column("action"), read_frames(dataset).column("action")
    )


def set_info(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda info: info.update({key: value})


def set_feature(name: str, key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda info: info["features"][name].update({key: value})


def set_codec(info: dict[str, Any]) -> None:
    info["features"]["observation.images.head_camera"]["info"]["video.codec"] = "av1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_info("fps", 30), r"fps is 30 and 10"),
        (set_feature("action", "shape", [7]), r"shape of feature action is \[7\] and \[14\]"),
        (set_feature("intervention", "dtype", "bool"), r"dtype of feature intervention is bool"),
        (set_codec, r"video.codec of feature observation.images.head_camera is av1 and h264"),
        (lambda info: info["features"].pop("phase"), r"feature phase is missing in .*other"),
    ],
)
def test_what_differs_is_named(
    dataset: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    """Both datasets, the feature and both values; nothing is written."""
    other = shutil.copytree(dataset, tmp_path / "other")
    info = json.loads((other / "meta/info.json").read_text())
    change(info)
    (other / "meta/info.json").write_text(json.dumps(info))

    with pytest.raises(IncompatibleError, match=message):
        merge_datasets([dataset, other], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_incomplete_sources_leave_nothing(dataset: Path, tmp_path: Path) -> None:
    """Missing rows, videos or statistics, found while merging."""
    cut = shutil.copytree(dataset, tmp_path / "cut")
    table = pq.read_table(cut / DATA)
    pq.write_table(table.slice(0, 40), cut / DATA)
    with pytest.raises(DataError, match="do not hold the 46 rows"):
        merge_datasets([dataset, cut], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()

    plain = shutil.copytree(dataset, tmp_path / "plain")
    episodes = plain / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(episodes)
    names = [name for name in table.column_names if "stats/observation.images" not in name]
    pq.write_table(table.select(names), episodes)
    with pytest.raises(DataError, match=r"no statistics of observation.images.head_camera"):
        merge_datasets([plain], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_nothing_to_merge() -> None:
    """At least one dataset."""
    with pytest.raises(DataError, match="no dataset was given"):
        merge_datasets([], Path("merged"))


def test_repeats_share_their_videos(demonstrations: Path, dataset: Path, tmp_path: Path) -> None:
    """Twice the demonstrations, once the rollouts: episodes repeat, video files do not."""
    summary = merge_datasets([demonstrations, dataset], tmp_path / "merged", repeats=[2, 1])

    merged = read_frames(tmp_path / "merged")
    assert summary.num_episodes == 8
    assert merged.originals.tolist() == [0, 1, 0, 1, 4, 5, 6, 7]
    assert len(list((tmp_path / "merged").rglob("*.mp4"))) == 18
    camera = "observation.images.head_camera"
    (block,) = iter_camera_blocks(tmp_path / "merged", [camera], episodes=[1, 3])
    np.testing.assert_array_equal(block.images[camera][:7], block.images[camera][7:])


def test_repeats_must_fit(dataset: Path, tmp_path: Path) -> None:
    """One whole number of 1 or more per dataset."""
    with pytest.raises(ConfigError, match=r"2 repeats were given for 1 datasets"):
        merge_datasets([dataset], tmp_path / "merged", repeats=[1, 2])
    with pytest.raises(ConfigError, match="must be 1 or more"):
        merge_datasets([dataset], tmp_path / "merged", repeats=[0])
    assert not (tmp_path / "merged").exists()


def test_corrections_are_applied(dataset: Path, tmp_path: Path) -> None:
    """A failure that was a success gets a success's columns; an excluded episode is gone."""
    name = "episode_20240101_120000_000{}".format
    corrections = {
        EpisodeKey("synthetic", name(2)): Correction("success", excluded=False, note="it held"),
        EpisodeKey("synthetic", name(1)): Correction(None, excluded=True, note="cable came off"),
        EpisodeKey("another", name(0)): Correction(None, excluded=True, note=""),
    }

    merge_datasets([dataset], tmp_path / "merged", corrections=corrections)

    before, after = read_frames(dataset), read_frames(tmp_path / "merged")
    assert after.episode_lengths.tolist() == [12, 10, 9]
    assert before.success.tolist() == [True, True, False, False]
    assert after.success.tolist() == [True, True, False]
    ramp = -(9 - np.arange(10)) / 10
    np.testing.assert_allclose(after.column("value_label")[12:22], ramp, atol=1e-7)
    np.testing.assert_array_equal(after.column("adv_ind")[12:22], before.column("adv_ind")[27:37])


def test_excluding_everything_is_refused(dataset: Path, tmp_path: Path) -> None:
    """Somebody excluded one episode too many."""
    names = read_frames(dataset).meta.episodes.column("raw_episode").to_pylist()
    corrections = {
        EpisodeKey("synthetic", name): Correction(None, excluded=True, note="") for name in names
    }

    with pytest.raises(DataError, match="exclude all 4 episodes"):
        merge_datasets([dataset], tmp_path / "merged", corrections=corrections)
    assert not (tmp_path / "merged").exists()


def test_robots_are_not_mixed(dataset: Path, tmp_path: Path) -> None:
    """Two named robots are refused; a dataset that names none goes with any."""
    named = [shutil.copytree(dataset, tmp_path / name) for name in ("yam", "so101")]
    for root in named:
        info = json.loads((root / "meta/info.json").read_text())
        (root / "meta/info.json").write_text(json.dumps({**info, "robot_type": root.name}))

    with pytest.raises(IncompatibleError, match="robot_type is so101 and yam"):
        merge_datasets(named, tmp_path / "merged")
    merge_datasets([dataset, named[0]], tmp_path / "merged")
    assert read_frames(tmp_path / "merged").meta.robot_type == "yam"


def test_an_optional_column_that_one_lacks_is_left_out(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Recordings of an older recorder number no corrections; they can be merged all the same."""
    older = shutil.copytree(dataset, tmp_path / "older")
    info = json.loads((older / "meta/info.json").read_text())
    del info["features"]["correction_index"]
    (older / "meta/info.json").write_text(json.dumps(info))
    for path in older.glob("data/*/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns("correction_index"), path)

    merge_datasets([dataset, older], tmp_path / "merged")

    merged = read_frames(tmp_path / "merged")
    assert "correction_index" not in merged.meta.features
    assert merged.num_frames == 92
    assert "merging without correction_index, which older does not have" in caplog.text


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_quantiles_of_images_are_kept_only_if_all_have_them(
    dataset: Path, tmp_path: Path, order: tuple[int, int]
) -> None:
    """Datasets of older formats have none; what is merged can be merged again."""
    older = shutil.copytree(dataset, tmp_path / "older")
    path = older / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    quantile = re.compile(r"stats/observation\.images\..*/q\d\d")
    pq.write_table(table.drop_columns([n for n in table.column_names if quantile.match(n)]), path)
    sources = [dataset, older]

    merge_datasets([sources[i] for i in order], tmp_path / "merged")
    merge_datasets([tmp_path / "merged", dataset], tmp_path / "again")

    rows = read_meta(tmp_path / "again").episodes_with_statistics()
    camera = "stats/observation.images.head_camera"
    assert f"{camera}/mean" in rows.column_names
    assert f"{camera}/q01" not in rows.column_names
    assert rows.num_rows == 12


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("reward", float("nan"), r"reward\[3\]"), ("adv_ind", "bogus", r"adv_ind\[3\]")],
)
def test_wrong_values_are_not_merged(
    dataset: Path, tmp_path: Path, name: str, value: object, message: str
) -> None:
    """A frame that breaks a rule is named with its episode."""
    broken = shutil.copytree(dataset, tmp_path / "broken")
    table = pq.read_table(broken / DATA)
    values = table.column(name).to_pylist()
    values[3] = value
    index, field = table.schema.get_field_index(name), table.schema.field(name)
    pq.write_table(table.set_column(index, field, pa.array(values, field.type)), broken / DATA)

    with pytest.raises(ColumnError, match=message):
        merge_datasets([dataset, broken], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
