"""A dataset finds the values and labels that belong to it."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from recap_core.config.labels import LabelConfig
from recap_core.data.label_table import LABELS_FILE, read_label_table
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_dataset
from recap_core.errors import ArtifactError, ArtifactNotFoundError, DataError, IncompatibleError
from recap_core.lineage.artifacts import Dataset, DatasetCopy, Labels, RelabeledDataset, Values
from recap_core.lineage.store import Build, Built, Store
from recap_core.reports.tracks import DRIVERS
from recap_core.stages.copy_dataset import copy_dataset
from recap_core.stages.label import label_dataset
from recap_core.stages.registry import CONVERT, INFER_VALUES
from recap_core.stages.relabel import relabel_dataset
from recap_core.stages.view import Judges, find_judges, open_tracks

ROBOT = SyntheticRobot(arms=("left",), cameras=())
NUM_FRAMES = 46


class Shelf(NamedTuple):
    """A dataset with everything that was made from it, and one that nothing was made from."""

    store: Store
    dataset: Dataset
    values: Values
    labels: Labels
    newer: Labels
    copy: DatasetCopy
    relabeled: RelabeledDataset
    other: Dataset


def dataset_artifact(store: Store, name: str) -> Dataset:
    """A synthetic dataset in the store."""

    def build(area: Build) -> Built:
        write_synthetic_dataset(area.output, robot=ROBOT, source=name)
        details = {"num_episodes": 4, "num_frames": NUM_FRAMES, "fps": 10, "tasks": ("a", "b")}
        return Built(details)

    return store.produce(CONVERT, LabelConfig(lookahead=len(name)), {}, name=name, build=build)


def values_artifact(store: Store, dataset: Dataset, *, name: str = "v") -> Values:
    """Values that rise from -1 to 0, of a value model of that name."""
    from recap_core.valuation.values import write_values

    def build(area: Build) -> Built:
        write_values(area.output, np.linspace(-1, 0, NUM_FRAMES, dtype=np.float32))
        return Built({"num_frames": NUM_FRAMES})

    config = LabelConfig(lookahead=1 + len(name))
    return store.produce(INFER_VALUES, config, {"dataset": dataset}, name=name, build=build)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Made by the real stages."""
    store = Store(tmp_path_factory.mktemp("view") / "home")
    dataset = dataset_artifact(store, "monday")
    values = values_artifact(store, dataset)
    labels = label_dataset(dataset, values, LabelConfig(lookahead=3), name="old", store=store)
    copy = copy_dataset(dataset, name="copy", store=store)
    relabeled = relabel_dataset(copy, labels, name="relabeled", store=store)
    newer = label_dataset(dataset, values, LabelConfig(lookahead=5), name="new", store=store)
    other = dataset_artifact(store, "tuesday")
    return Shelf(store, dataset, values, labels, newer, copy, relabeled, other)


def test_a_relabelled_dataset_has_the_labels_it_was_made_from(shelf: Shelf) -> None:
    """Not newer ones; and the values behind them."""
    assert find_judges(shelf.store, shelf.relabeled) == Judges(shelf.values, shelf.labels)


def test_any_other_dataset_has_the_newest_labels(shelf: Shelf) -> None:
    """Those of what it is a copy of count too; a dataset without any has none."""
    assert find_judges(shelf.store, shelf.dataset) == Judges(shelf.values, shelf.newer)
    assert find_judges(shelf.store, shelf.copy) == Judges(shelf.values, shelf.newer)
    assert find_judges(shelf.store, shelf.other) == Judges(None, None)


def test_values_without_labels_are_found(tmp_path: Path) -> None:
    """They are drawn, and labels are the column."""
    store = Store(tmp_path / "home")
    dataset = dataset_artifact(store, "monday")
    values = values_artifact(store, dataset)

    assert find_judges(store, dataset) == Judges(values, None)
    tracks = open_tracks(store, dataset.id)
    assert tracks.judgement.values is not None
    assert tracks.judgement.adv_ind is None


def test_the_plain_command_shows_what_the_lineage_knows(shelf: Shelf) -> None:
    """V, advantage, labels and thresholds, frame by frame."""
    tracks = open_tracks(shelf.store, f"relabeled-{shelf.relabeled.id[:8]}")

    table = read_label_table(shelf.store.path(shelf.labels) / LABELS_FILE)
    np.testing.assert_array_equal(tracks.adv_ind, table.adv_ind)
    episode = tracks.episode(1)
    rows = slice(12, 27)
    np.testing.assert_array_equal(episode.advantage, table.advantage[rows])
    assert episode.values is not None
    np.testing.assert_allclose(episode.values, np.linspace(-1, 0, NUM_FRAMES)[rows], atol=1e-6)
    assert episode.threshold is not None
    assert [DRIVERS[code] for code in episode.driver[5:10]] == [
        "policy", "operator", "operator", "operator", "policy",
    ]  # fmt: skip
    assert tracks.judgement.labels_from == f"old-{shelf.labels.id[:8]}"


def test_a_directory_of_the_store_is_its_artifact(shelf: Shelf) -> None:
    """Completing a path in the shell finds the same as the id."""
    tracks = open_tracks(shelf.store, str(shelf.store.path(shelf.dataset)))

    assert tracks.name == f"monday-{shelf.dataset.id[:8]}"
    assert tracks.judgement.labels_from == f"new-{shelf.newer.id[:8]}"


def test_a_plain_directory_works_too(shelf: Shelf, tmp_path: Path) -> None:
    """Without judgement; with one that is named."""
    root = tmp_path / "exported"
    shutil.copytree(shelf.store.path(shelf.dataset), root)
    (root / "artifact.json").chmod(0o644)
    root.chmod(0o755)
    (root / "artifact.json").unlink()

    plain = open_tracks(shelf.store, str(root))
    judged = open_tracks(shelf.store, str(root), labels=shelf.newer.id)

    assert (plain.name, plain.judgement.values) == ("exported", None)
    assert judged.judgement.values_from == f"v-{shelf.values.id[:8]}"
    assert judged.judgement.labels_from == f"new-{shelf.newer.id[:8]}"


def test_what_is_asked_for_wins(shelf: Shelf) -> None:
    """Other labels than the newest; values alone bring the labels made of them."""
    chosen = open_tracks(shelf.store, shelf.dataset.id, labels=shelf.labels.id)
    valued = open_tracks(shelf.store, shelf.dataset.id, values=shelf.values.id)

    assert chosen.judgement.labels_from == f"old-{shelf.labels.id[:8]}"
    assert valued.judgement.labels_from == f"new-{shelf.newer.id[:8]}"


def test_labels_of_other_values_are_not_drawn(tmp_path: Path) -> None:
    """They would contradict the curve above them; the labels' own values are used otherwise."""
    store = Store(tmp_path / "home")
    dataset = dataset_artifact(store, "monday")
    first = values_artifact(store, dataset)
    label_dataset(dataset, first, LabelConfig(lookahead=3), name="labels", store=store)
    second = values_artifact(store, dataset, name="second")

    assert open_tracks(store, dataset.id).judgement.values_from == f"v-{first.id[:8]}"
    judgement = open_tracks(store, dataset.id, values=second.id).judgement
    assert judgement.values_from == f"second-{second.id[:8]}"
    assert judgement.adv_ind is None


def test_what_was_removed_is_done_without(tmp_path: Path) -> None:
    """A relabelled dataset outlives its labels, and its values."""
    store = Store(tmp_path / "home")
    dataset = dataset_artifact(store, "monday")
    values = values_artifact(store, dataset)
    labels = label_dataset(dataset, values, LabelConfig(lookahead=3), name="l", store=store)
    copy = copy_dataset(dataset, name="copy", store=store)
    relabeled = relabel_dataset(copy, labels, name="relabeled", store=store)

    store.remove(labels)
    assert find_judges(store, relabeled) == Judges(values, None)
    store.remove(values)
    assert find_judges(store, relabeled) == Judges(None, None)


def test_a_broken_rule_is_one_error(shelf: Shelf, tmp_path: Path) -> None:
    """It names the file."""
    shutil.copy(shelf.store.path(shelf.labels) / LABELS_FILE, tmp_path)
    (tmp_path / "rule.json").write_text("{")

    with pytest.raises(DataError, match=r"rule\.json cannot be read"):
        open_tracks(shelf.store, shelf.dataset.id, labels=str(tmp_path))


def test_what_does_not_belong_together_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    """Labels of another dataset, artifacts of another kind, directories of another length."""
    np.save(tmp_path / "values.npy", np.zeros(3, np.float32))

    with pytest.raises(IncompatibleError, match=f"not to tuesday-{shelf.other.id[:8]}"):
        open_tracks(shelf.store, shelf.other.id, labels=shelf.labels.id)
    with pytest.raises(ArtifactError, match="is of kind labels, but a dataset is needed"):
        open_tracks(shelf.store, shelf.labels.id)
    with pytest.raises(ArtifactNotFoundError):
        open_tracks(shelf.store, "nowhere")
    with pytest.raises(DataError, match="has 3 frames, but the dataset has 46"):
        open_tracks(shelf.store, shelf.dataset.id, values=str(tmp_path))


def test_a_dataset_without_recap_columns_can_be_shown(shelf: Shelf, tmp_path: Path) -> None:
    """Outcomes are unknown, the policy drives, nothing is labelled."""
    root = tmp_path / "plain"
    shutil.copytree(shelf.store.path(shelf.dataset), root)
    path = root / "meta" / "info.json"
    for part in (root, path.parent, path):
        part.chmod(0o755)
    info = json.loads(path.read_text())
    for name in ("intervention", "reward", "reward_label", "value_label", "adv_ind", "phase"):
        del info["features"][name]
    path.write_text(json.dumps(info))

    tracks = open_tracks(Store(tmp_path / "home"), str(root))

    assert set(tracks.endings) == {"unknown"}
    assert not tracks.driver.any()
    assert not tracks.adv_ind.any()
    episode = tracks.episode(2)
    assert (episode.value_label, episode.reward, episode.phase) == (None, None, None)
