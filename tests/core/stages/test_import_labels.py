"""Labels of other tools as artifacts: lineage, relabelling, and the way back out."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_core.config.interchange import ExportLabelsConfig, LabelSourceConfig
from recap_core.config.labels import LabelConfig
from recap_core.data.frames import read_frames
from recap_core.data.interchange.rlinf import read_rlinf
from recap_core.data.label_table import LABELS_FILE, read_label_table
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_dataset
from recap_core.errors import ColumnError, DataError, IncompatibleError
from recap_core.lineage.artifacts import Dataset, Labels, Values
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.copy_dataset import copy_dataset
from recap_core.stages.export_labels import export_labels
from recap_core.stages.import_labels import import_config, import_labels
from recap_core.stages.label import label_dataset
from recap_core.stages.registry import CONVERT, INFER_VALUES, NoSettings
from recap_core.stages.relabel import relabel_dataset
from recap_core.stages.view import open_tracks
from recap_core.valuation.values import read_values, write_values

RLINF = LabelSourceConfig(tool="rlinf")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Shared by these tests, which add to it under different names."""
    return Store(tmp_path_factory.mktemp("home"))


def _dataset(store: Store, name: str) -> Dataset:
    robot = SyntheticRobot(arms=("left",), num_joints=1, cameras=("head_camera",))

    def build(area: Build) -> Built:
        summary = write_synthetic_dataset(area.output, robot=robot, source=name)
        return Built(summary._asdict())

    config = LabelSourceConfig(tool="rlinf", tag=name)  # any config: it keeps the keys apart
    return store.produce(CONVERT, config, {}, name=name, build=build)


@pytest.fixture(scope="module")
def dataset(store: Store) -> Dataset:
    """Four episodes, 46 frames, one of them paused."""
    return _dataset(store, "merged")


@pytest.fixture(scope="module")
def values(store: Store, dataset: Dataset) -> Values:
    """V of the dataset's frames."""

    def build(area: Build) -> Built:
        write_values(area.output, np.linspace(-1, 0, dataset.num_frames, dtype=np.float32))
        return Built({"num_frames": dataset.num_frames})

    inputs = {"dataset": dataset}
    return store.produce(INFER_VALUES, NoSettings(), inputs, name="values", build=build)


def sidecar(store: Store, dataset: Dataset, path: Path, is_positive: np.ndarray) -> Path:
    """Labels of RLinf's, with V."""
    table = read_frames(store.path(dataset))
    columns = {
        "episode_index": table.column("episode_index"),
        "frame_index": table.column("frame_index"),
        "advantage": is_positive,
        "advantage_continuous": np.where(is_positive, 0.5, -0.5),
        "value_current": np.linspace(-1, 0, len(is_positive)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_imported_labels_are_relabelled_with(
    store: Store, dataset: Dataset, tmp_path: Path
) -> None:
    """They name their dataset as parent, so that a copy of it takes them, and no other does."""
    is_positive = np.arange(46) % 3 == 0
    path = sidecar(store, dataset, tmp_path / "a.parquet", is_positive)

    config = import_config(dataset, path, RLINF, store=store)
    labels = import_labels(dataset, path, config, name="rlinf", store=store)
    copy = copy_dataset(dataset, name="copy", store=store)
    relabeled = relabel_dataset(copy, labels, name="relabeled", store=store)

    assert labels.parents == (dataset.id,)
    assert (labels.num_positive, labels.num_negative, labels.num_none) == (16, 30, 0)
    written = read_frames(store.path(relabeled)).column("adv_ind")
    np.testing.assert_array_equal(written == "positive", is_positive)
    other = copy_dataset(_dataset(store, "other"), name="other-copy", store=store)
    with pytest.raises(IncompatibleError, match="label the dataset that was copied"):
        relabel_dataset(other, labels, name="wrong", store=store)


def test_the_share_of_positives_is_that_of_autonomous_frames(
    store: Store, dataset: Dataset, tmp_path: Path
) -> None:
    """Five corrected frames and a paused one are not counted."""
    table = read_frames(store.path(dataset))
    is_positive = table.is_intervention | (np.arange(46) < 10)
    path = sidecar(store, dataset, tmp_path / "a.parquet", is_positive)

    config = import_config(dataset, path, RLINF, store=store)
    labels = import_labels(dataset, path, config, name="share", store=store)

    assert labels.num_positive == 15
    assert labels.autonomous_positive_share == 10 / 40


def test_the_key_is_what_the_labels_say(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    """Neither the path nor bytes that do not concern labels count; another label does."""
    is_positive = np.arange(46) % 2 == 0
    first = sidecar(store, dataset, tmp_path / "a.parquet", is_positive)
    table = pq.read_table(first).append_column("reward_sum", [np.zeros(46)])
    second = tmp_path / "elsewhere.parquet"
    pq.write_table(table.take(np.arange(46)[::-1]), second)
    flipped = is_positive.copy()
    flipped[45] = not flipped[45]
    third = sidecar(store, dataset, tmp_path / "c.parquet", flipped)

    a, b, c = (
        import_labels(
            dataset,
            path,
            import_config(dataset, path, RLINF, store=store),
            name="key",
            store=store,
        )
        for path in (first, second, third)
    )

    assert a.id == b.id
    assert a.id != c.id


def test_a_source_that_changes_meanwhile_is_refused(
    store: Store, dataset: Dataset, tmp_path: Path
) -> None:
    """Nothing is published under the digest of the old content."""
    is_positive = np.arange(46) % 5 == 0
    path = sidecar(store, dataset, tmp_path / "a.parquet", is_positive)
    config = import_config(dataset, path, RLINF, store=store)
    before = len(list(store.artifacts()))
    sidecar(store, dataset, path, ~is_positive)

    with pytest.raises(DataError, match=r"a.parquet changed while it was imported"):
        import_labels(dataset, path, config, name="late", store=store)
    assert len(list(store.artifacts())) == before


@pytest.mark.parametrize("tool", ["rlinf", "evo_rl"])
def test_our_labels_go_out_and_come_back(
    store: Store, dataset: Dataset, values: Values, tmp_path: Path, tool: str
) -> None:
    """Labels, advantage and V are the same; only the rank is not known any more."""
    rule = LabelConfig(pool="autonomous", paused_frames="autonomous", positive_share=0.3)
    ours = label_dataset(dataset, values, rule, name="ours", store=store)
    out = ExportLabelsConfig.model_validate({"tool": tool, "tag": "r1"})
    back = LabelSourceConfig.model_validate({"tool": tool, "tag": "r1"})

    written = export_labels(ours, tmp_path / "out", out, share=True, store=store)
    config = import_config(dataset, tmp_path / "out", back, store=store)
    again = import_labels(dataset, tmp_path / "out", config, name="again", store=store)

    assert written.left_out == ()
    before, after = (read_label_table(store.path(x) / LABELS_FILE) for x in (ours, again))
    np.testing.assert_array_equal(after.adv_ind, before.adv_ind)
    np.testing.assert_array_equal(after.advantage, before.advantage)
    np.testing.assert_array_equal(read_values(store.path(again)), read_values(store.path(values)))
    for artifact in (dataset, ours):
        store.verify(artifact)


def test_imported_labels_go_on_to_another_tool(
    store: Store, dataset: Dataset, tmp_path: Path
) -> None:
    """V travels with them; what the next tool cannot hold is said."""
    is_positive = np.arange(46) % 4 == 0
    path = sidecar(store, dataset, tmp_path / "a.parquet", is_positive)
    config = import_config(dataset, path, RLINF, store=store)
    labels = import_labels(dataset, path, config, name="hub", store=store)

    kept = export_labels(
        labels, tmp_path / "rlinf", ExportLabelsConfig(tool="rlinf"), share=False, store=store
    )
    lost = export_labels(
        labels, tmp_path / "kai0", ExportLabelsConfig(tool="kai0"), share=False, store=store
    )
    threshold = export_labels(
        labels, tmp_path / "opentau", ExportLabelsConfig(tool="opentau"), share=False, store=store
    )

    found = read_rlinf(tmp_path / "rlinf", read_frames(store.path(dataset)))
    assert found.values is not None
    np.testing.assert_array_equal(found.values, np.linspace(-1, 0, 46).astype(np.float32))
    assert kept == (None, ())
    assert lost == (None, ("advantage", "value"))
    assert threshold == (0.5, ("value",))
    assert json.loads((tmp_path / "kai0/meta/info.json").read_text())["total_tasks"] == 4


def test_an_export_that_fails_leaves_nothing(
    store: Store, dataset: Dataset, values: Values, tmp_path: Path
) -> None:
    """A paused frame has no label, which Evo-RL cannot hold."""
    rule = LabelConfig(pool="autonomous", positive_share=0.3)
    ours = label_dataset(dataset, values, rule, name="paused", store=store)

    with pytest.raises(ColumnError, match=r"1 of 46 frames are labelled none"):
        export_labels(
            ours, tmp_path / "out", ExportLabelsConfig(tool="evo_rl"), share=False, store=store
        )
    assert list(tmp_path.iterdir()) == []
    assert isinstance(ours, Labels)


def test_imported_labels_are_seen_with_their_values(
    store: Store, dataset: Dataset, tmp_path: Path
) -> None:
    """V is stored in the labels themselves; their rule is not known."""
    is_positive = np.arange(46) % 7 == 0
    path = sidecar(store, dataset, tmp_path / "a.parquet", is_positive)
    config = import_config(dataset, path, RLINF, store=store)
    labels = import_labels(dataset, path, config, name="seen", store=store)

    judgement = open_tracks(store, dataset.id, labels=labels.id).judgement

    assert judgement.values_from == judgement.labels_from == f"seen-{labels.id[:8]}"
    assert judgement.values is not None
    np.testing.assert_allclose(judgement.values, np.linspace(-1, 0, 46), atol=1e-6)
    assert judgement.thresholds is None
