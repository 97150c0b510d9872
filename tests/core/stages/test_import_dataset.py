"""Existing datasets in the store."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_core.config.import_dataset import ImportConfig
from recap_core.data.export_v21 import export_v21
from recap_core.data.frames import read_frames
from recap_core.data.import_record import read_import_record
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_dataset
from recap_core.errors import ConfigError, DataError
from recap_core.lineage.files import walk
from recap_core.lineage.store import Store
from recap_core.progress import Bar
from recap_core.stages.import_dataset import import_dataset

CONFIG = ImportConfig()


def test_unknown_origins_are_the_digest(tmp_path: Path) -> None:
    """Two datasets of one name have episodes of different sources."""
    store, sources = Store(tmp_path / "home"), set()
    for number in range(2):
        root = tmp_path / str(number) / "rollouts"
        write_synthetic_dataset(root, robot=SyntheticRobot(cameras=(), fps=10 + number))
        forget_origins(root)
        dataset = import_dataset(root, CONFIG, name="rollouts", store=store)
        sources |= set(read_frames(store.path(dataset)).sources)

    assert len(sources) == 2


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A dataset that somebody may still change."""
    root = tmp_path / "outside"
    write_synthetic_dataset(root, robot=SyntheticRobot(cameras=("head_camera",)))
    return root


def forget_origins(root: Path) -> None:
    """Drop what only our own datasets know of their episodes."""
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["source", "round", "raw_episode"]), path)


def linked_copy(root: Path, target: Path) -> Path:
    """The same dataset as a tree of symbolic links."""
    for file in walk(root).files:
        link = target / file.relative
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.path)
    return target


def test_a_dataset_is_published_once(outside: Path, tmp_path: Path) -> None:
    """With counts; the same content behind links elsewhere is found again."""
    store = Store(tmp_path / "home")

    first = import_dataset(outside, CONFIG, name="rollouts", store=store)
    links = linked_copy(outside, tmp_path / "links")
    second = import_dataset(links, CONFIG, name="again", store=store)

    assert (first.num_episodes, first.num_frames, first.cameras) == (
        4,
        46,
        ("observation.images.head_camera",),
    )
    metrics = store.manifest(first).metrics
    assert metrics == {"num_successes": 2, "num_intervention_frames": 5}
    assert second.id == first.id


def test_a_link_farm_becomes_regular_files(outside: Path, tmp_path: Path) -> None:
    """The artifact shares the videos behind the links."""
    store = Store(tmp_path / "home")
    links = linked_copy(outside, tmp_path / "links")

    dataset = import_dataset(links, CONFIG, name="rollouts", store=store)

    store.verify(dataset)
    video = next(file for file in walk(store.path(dataset)).files if file.path.suffix == ".mp4")
    assert video.stat.st_ino in {path.stat().st_ino for path in outside.rglob("*.mp4")}


def test_other_content_is_another_artifact(outside: Path, tmp_path: Path) -> None:
    """The digest of the source is part of the key."""
    store = Store(tmp_path / "home")
    first = import_dataset(outside, CONFIG, name="rollouts", store=store)

    info = outside / "meta" / "info.json"
    info.write_text(info.read_text() + "\n")

    assert import_dataset(outside, CONFIG, name="rollouts", store=store).id != first.id


def test_a_v21_dataset_is_brought_up_first(outside: Path, tmp_path: Path) -> None:
    """Every column and the origin of our own export come back."""
    export_v21(outside, tmp_path / "v21")
    store = Store(tmp_path / "home")

    dataset = import_dataset(tmp_path / "v21", CONFIG, name="rollouts", store=store)

    before, after = read_frames(outside), read_frames(store.path(dataset))
    assert after.sources == before.sources
    for name, feature in before.meta.features.items():
        if feature["dtype"] != "video":
            np.testing.assert_array_equal(after.column(name), before.column(name))


def test_what_a_v21_dataset_drops(outside: Path, tmp_path: Path) -> None:
    """Images in parquet are left out; an outcome is read first and left out then."""
    root, images = tmp_path / "v21", "observation.images.extra"
    export_v21(outside, root)
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"][images] = {"dtype": "image", "shape": [2, 2, 3]}
    info["features"]["success"] = {"dtype": "bool", "shape": [1]}
    path.write_text(json.dumps(info))
    for file in root.rglob("*.parquet"):
        table = pq.read_table(file)
        success = pa.array([table["reward"][-1].as_py() == 1] * table.num_rows)
        pq.write_table(table.append_column("success", success), file)
    store = Store(tmp_path / "home")

    config = ImportConfig(drop=(images, "success"))
    dataset = import_dataset(root, config, name="rollouts", store=store)

    assert set(read_frames(store.path(dataset)).meta.features) == set(
        read_frames(outside).meta.features
    )
    record = read_import_record(store.path(dataset))
    assert record.made_from["outcome"] == "success true at any frame"
    for wrong, message in (("nothing", "drop names 'nothing'"), ("adv_ind", "cannot be dropped")):
        with pytest.raises(ConfigError, match=message):
            import_dataset(root, ImportConfig(drop=(images, wrong)), name="no", store=store)


class _Intruder:
    """Somebody who writes into a file while it is imported."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """A bar that writes once."""
        del label, total, done
        self._path.write_text(self._path.read_text() + "\n")
        yield self

    def update(self, done: int, note: str = "") -> None:
        """Nothing."""


def test_a_source_that_changes_meanwhile_is_refused(outside: Path, tmp_path: Path) -> None:
    """Nothing is published."""
    store = Store(tmp_path / "home")
    intruder = _Intruder(outside / "meta" / "info.json")

    with pytest.raises(DataError, match="changed while it was imported"):
        import_dataset(outside, CONFIG, name="rollouts", store=store, progress=intruder)

    assert list(store.artifacts()) == []
