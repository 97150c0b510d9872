"""Disks that are full, read-only, or somebody else's: a clear error, and nothing left behind.

One tmpfs holds a store with its inputs; a ballast file leaves as much space as a case wants.
Without the right to mount, these tests are skipped and say so.
"""

import gc
import hashlib
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from recap_core.config.base import Config
from recap_core.config.dataset import ConvertConfig, MergeConfig
from recap_core.data.convert import convert_recording as convert_directory
from recap_core.data.frames import read_frames
from recap_core.data.label_table import LABELS_FILE, LabelTable, write_label_table
from recap_core.data.raw_episode import episode_directories
from recap_core.data.relabel import write_adv_ind
from recap_core.data.synthetic import (
    SyntheticRobot,
    write_synthetic_recording,
)
from recap_core.data.validate import validate
from recap_core.errors import ArtifactError, DataError, RecapError
from recap_core.lineage.artifacts import Artifact, Dataset, DatasetCopy, Labels, Recording
from recap_core.lineage.atomic_directory import atomic_directory
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.convert import convert_recording
from recap_core.stages.copy_dataset import copy_dataset
from recap_core.stages.merge import merge_datasets
from recap_core.stages.relabel import relabel_dataset
from tests.core.data.permissions import bound_by_permissions
from tests.core.data.small_disk import set_read_only, small_disk, why_no_disk

NUM_FRAMES = 46


class Home:
    """A store on a small disk, with everything that the stages take."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.store = Store(disk / "home")
        self.recording = self.store.produce(
            Stage("synthetic", 1, Recording), Config(), {}, name="day", build=_record
        )
        self.dataset = self.convert("source")
        self.copy: DatasetCopy = copy_dataset(self.dataset, name="copy", store=self.store)
        self.labels = self.store.produce(
            Stage("synthetic_labels", 1, Labels),
            Config(),
            {"dataset": self.dataset},
            name="labels",
            build=_label,
        )

    @contextmanager
    def free(self, size_kb: int) -> Generator[None]:
        """Leave ``size_kb`` kilobytes on the disk."""
        ballast = self.disk / "ballast"
        status = os.statvfs(self.disk)
        ballast.write_bytes(bytes(status.f_bavail * status.f_frsize - size_kb * 1024))
        try:
            yield
        finally:
            ballast.unlink()

    def content(self) -> dict[str, str]:
        """Every file of the store but its cache of digests, its locks, and notes of removals."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.store.home.rglob("*"))
            if path.is_file() and "digests.sqlite" not in path.name
            if not {"locks", "removed"} & set(path.parts)
        }

    def open_files(self) -> list[str]:
        """Files on the disk that this process still holds open, beyond what exceptions hold."""
        if self._descriptors():
            gc.collect()
        return self._descriptors()

    def _descriptors(self) -> list[str]:
        links = []
        for path in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # another thread has just closed it
                links.append(path.readlink())
        return [str(link) for link in links if link.is_relative_to(self.disk)]

    def convert(self, name: str) -> Dataset:
        """The recording, with another task text each time."""
        config = ConvertConfig(task=name)
        return convert_recording(self.recording, config, name=name, store=self.store)

    def merge(self, name: str) -> Dataset:
        """The dataset twice."""
        config = MergeConfig(repeats=(2,))
        return merge_datasets([self.dataset], config, name=name, store=self.store)

    def relabel(self, name: str) -> Artifact:
        """New labels in the copy."""
        return relabel_dataset(self.copy, self.labels, name=name, store=self.store)

    def copy_again(self, name: str) -> Artifact:
        """A copy of the copy."""
        return copy_dataset(self.copy, name=name, store=self.store)


OPERATIONS = (Home.convert, Home.merge, Home.relabel, Home.copy_again)


def _record(area: Build) -> Built:
    write_synthetic_recording(area.output, robot=SyntheticRobot(cameras=("head_camera",)))
    return Built(
        {
            "num_episodes": 4,
            "num_frames": NUM_FRAMES,
            "num_successes": 2,
            "num_intervention_frames": 5,
            "fps": 10,
            "task": "transfer cube",
            "mode": "rollout",
            "round_index": 1,
        }
    )


def _label(area: Build) -> Built:
    table = LabelTable(
        np.zeros(NUM_FRAMES, np.float32), np.ones(NUM_FRAMES, np.int8), np.arange(NUM_FRAMES)
    )
    write_label_table(area.output / LABELS_FILE, table)
    return Built(
        {
            "num_frames": NUM_FRAMES,
            "num_positive": 0,
            "num_negative": NUM_FRAMES,
            "num_none": 0,
            "autonomous_positive_share": 0.0,
        }
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Home]:
    base = tmp_path_factory.mktemp("disks")
    reason = why_no_disk(base / "probe")
    if reason:
        pytest.skip(reason)
    with small_disk(base / "disk", size_kb=8192) as disk:
        yield Home(disk)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_a_full_disk_is_named_and_nothing_stays(
    home: Home, operation: Callable[[Home, str], Artifact]
) -> None:
    """Wherever the space runs out: one error, the store as before; with space it works."""
    before = home.content()
    sizes_kb = (0, 4, 12) if operation is Home.copy_again else (0, 4, 12, 28, 60)
    num_failures = 0
    for size_kb in sizes_kb:
        with home.free(size_kb):
            made = refused = None
            try:
                made = operation(home, "made")
            except ArtifactError as error:
                refused = str(error)
            if made is not None:
                home.store.remove(made)
        num_failures += refused is not None
        assert refused is None or ("no space left" in refused and "free space" in refused)
        assert home.content() == before
        assert home.open_files() == []
    assert num_failures >= (1 if operation is Home.copy_again else len(sizes_kb) - 1)

    made = operation(home, "made")
    home.store.verify(made)
    home.store.verify(home.dataset)
    home.store.remove(made)


def test_a_full_disk_outside_the_store(home: Home, recording: Path) -> None:
    """Exports and copies: the target does not appear, nor does anything beside it."""
    for size_kb in (0, 8, 40):
        with (
            home.free(size_kb),
            pytest.raises(ArtifactError, match="no space left while"),
            atomic_directory(home.disk / "out") as draft,
        ):
            convert_directory(recording, draft, ConvertConfig(), round_index=1, source="monday")
        assert sorted(path.name for path in home.disk.iterdir()) == ["home"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_a_read_only_disk(home: Home, operation: Callable[[Home, str], Artifact]) -> None:
    """What is stored can be found and read; what is new is refused with the place."""
    before = home.content()
    assert home.open_files() == []  # with files open for writing it could not be made read-only
    set_read_only(home.disk, is_read_only=True)
    try:
        with pytest.raises(ArtifactError, match=rf"{home.store.home}.*cannot be written"):
            operation(home, "new")
        with pytest.raises(DataError, match="cannot be written"), atomic_directory(home.disk / "x"):
            pass
        assert validate(home.store.path(home.dataset)) == []
    finally:
        set_read_only(home.disk, is_read_only=False)
    assert home.content() == before


def test_a_directory_that_may_not_be_written(tmp_path: Path) -> None:
    """A store and a target of somebody else: named, and what to do."""
    (tmp_path / "theirs").mkdir(mode=0o555)

    with bound_by_permissions():
        with (
            pytest.raises(DataError, match=r"theirs/out cannot be written.*Choose a directory"),
            atomic_directory(tmp_path / "theirs" / "out"),
        ):
            pass
        with pytest.raises(ArtifactError, match=r"theirs/home.* cannot be written"):
            Store(tmp_path / "theirs" / "home").produce(
                Stage("synthetic", 1, Recording), Config(), {}, name="day", build=_record
            )
    assert list((tmp_path / "theirs").iterdir()) == []


@pytest.mark.parametrize(
    "file", ["metadata.json", "timestamps.npy", "left_states.npz", "head_camera.mp4", "."]
)
def test_a_recording_that_may_not_be_read(small_recording: Path, tmp_path: Path, file: str) -> None:
    """The file is named; validation finds it too."""
    root = shutil.copytree(small_recording, tmp_path / "raw")
    path = episode_directories(root)[0] / file
    path.chmod(0)

    with bound_by_permissions():
        with pytest.raises(DataError, match=path.name):
            convert_directory(root, tmp_path / "out", ConvertConfig(), round_index=1, source="day")
        errors = [finding for finding in validate(root) if finding.severity == "error"]
    path.chmod(0o700)
    assert not (tmp_path / "out").exists()
    assert len(errors) == 1


@pytest.mark.parametrize(
    "file", ["meta/info.json", "meta", "data/chunk-000/file-000.parquet", "meta/tasks.parquet"]
)
def test_a_dataset_that_may_not_be_read(small_dataset: Path, tmp_path: Path, file: str) -> None:
    """The same for datasets."""
    root = shutil.copytree(small_dataset, tmp_path / "dataset")
    num_frames = read_frames(root).num_frames
    (root / file).chmod(0)

    with bound_by_permissions():
        with pytest.raises(RecapError, match=Path(file).name):
            read_frames(root, ["reward"])
        with pytest.raises(RecapError):
            write_adv_ind(root, tmp_path / "out", np.ones(num_frames, np.int8))
        errors = [finding for finding in validate(root) if finding.severity == "error"]
    (root / file).chmod(0o700)
    assert not (tmp_path / "out").exists()
    assert errors
