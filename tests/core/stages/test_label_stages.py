"""Labels as artifacts: relabelling with provenance, sweep, diff, explanation, training's check."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recap_core.config.labels import LABEL_PRESETS, FrozenArmConfig, LabelConfig
from recap_core.data.export_v21 import export_v21
from recap_core.data.frames import read_frames
from recap_core.data.label_sidecar import FACTS_FILE, TABLE_FILE, read_sidecar_facts
from recap_core.data.label_table import LABELS_FILE, LabelTable, read_label_table, write_label_table
from recap_core.data.relabel import write_adv_ind
from recap_core.data.relabel_checks import check_relabel
from recap_core.errors import (
    ArtifactNotFoundError,
    ColumnError,
    ConfigError,
    CorruptArtifactError,
    DataError,
    IncompatibleError,
)
from recap_core.lineage.artifacts import Artifact, DatasetCopy, Labels, RelabeledDataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.reports.label_pages import render_page
from recap_core.stages.copy_dataset import copy_dataset
from recap_core.stages.label_diff import diff_labels, diff_page
from recap_core.stages.label_explain import explain_frame
from recap_core.stages.label_references import Labelled, labelled, targets_of_values, valued
from recap_core.stages.label_sweep import sweep_labels, sweep_page
from recap_core.stages.registry import LABEL, RELABEL
from recap_core.stages.relabel import relabel_dataset
from recap_core.stages.training_labels import check_training_labels
from recap_core.valuation.values import read_values
from tests.core.stages.label_shelf import (
    EPISODES,
    NUM_FRAMES,
    Shelf,
    keyed,
    made_labels,
    made_values,
    make_shelf,
)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Two datasets with values and labels."""
    return make_shelf(Store(tmp_path_factory.mktemp("labels") / "home"))


@pytest.fixture(scope="module")
def copy(shelf: Shelf) -> DatasetCopy:
    """Of Monday's dataset."""
    return copy_dataset(shelf.dataset, name="copy", store=shelf.store)


@pytest.fixture(scope="module")
def relabeled(shelf: Shelf, copy: DatasetCopy) -> RelabeledDataset:
    """Monday's dataset with its labels."""
    return relabel_dataset(copy, shelf.labels, name="relabeled", store=shelf.store)


def table_of(shelf: Shelf, labels: Labels) -> LabelTable:
    return read_label_table(shelf.store.path(labels) / LABELS_FILE)


def test_a_relabelled_dataset_says_where_its_labels_come_from(
    shelf: Shelf, relabeled: RelabeledDataset
) -> None:
    """V, advantage, rank and threshold of every frame, and every artifact behind them."""
    root, marks = shelf.store.path(relabeled), table_of(shelf, shelf.labels)
    facts, rows = read_sidecar_facts(root), pq.read_table(root / TABLE_FILE)

    assert facts is not None
    assert (facts["labels"], facts["dataset"]) == (shelf.labels.id, shelf.dataset.id)
    assert (facts["values"], facts["rule"]["lookahead"]) == (shelf.values.id, 4)
    assert facts["autonomous_positive_share"] == shelf.labels.autonomous_positive_share
    # 6 + 4 frames of a human and a pause leave 26; floor(25 * 0.4) + 1 = 11.
    assert (facts["groups"][0]["pool_size"], facts["groups"][0]["num_positive"]) == (26, 11)
    assert facts["thresholds"] == {"transfer cube": facts["groups"][0]["threshold"]}
    np.testing.assert_array_equal(
        rows["value"].to_numpy(), read_values(shelf.store.path(shelf.values))
    )
    np.testing.assert_array_equal(rows["advantage"].to_numpy(), marks.advantage)
    assert rows["adv_ind"].to_pylist() == read_frames(root).column("adv_ind").tolist()
    assert rows["frame_index"].to_pylist()[:8] == [0, 1, 2, 3, 4, 5, 0, 1]
    is_positive = marks.advantage >= facts["groups"][0]["threshold"] - 1e-7
    in_pool = marks.rank >= 0
    np.testing.assert_array_equal(marks.adv_ind[in_pool] == 2, is_positive[in_pool])


def test_labels_say_what_the_rule_promises(shelf: Shelf, relabeled: RelabeledDataset) -> None:
    """No autonomous frame without a label, corrections positive, the pause without, demos kept."""
    table = read_frames(shelf.store.path(relabeled))
    before = read_frames(shelf.store.path(shelf.dataset)).column("adv_ind")
    adv_ind = table.column("adv_ind")

    assert set(adv_ind[~(table.is_intervention | table.is_paused)]) == {"positive", "negative"}
    assert set(adv_ind[table.is_intervention]) == {"positive"}
    assert adv_ind[table.is_paused].tolist() == ["none"]
    assert adv_ind[:6].tolist() == before[:6].tolist()


def test_a_later_relabel_replaces_what_an_earlier_one_said(
    shelf: Shelf, relabeled: RelabeledDataset, tmp_path: Path
) -> None:
    """Nothing of the old labelling stays in the new dataset."""
    write_adv_ind(shelf.store.path(relabeled), tmp_path / "out", np.ones(NUM_FRAMES, np.int8))

    assert read_sidecar_facts(tmp_path / "out") is None
    assert not (tmp_path / "out" / TABLE_FILE).exists()


def test_an_export_to_v21_takes_the_provenance_along(
    shelf: Shelf, relabeled: RelabeledDataset, tmp_path: Path
) -> None:
    """Beside the files that openpi's lerobot reads."""
    export_v21(shelf.store.path(relabeled), tmp_path / "out")

    assert read_sidecar_facts(tmp_path / "out") == read_sidecar_facts(shelf.store.path(relabeled))
    assert pq.read_table(tmp_path / "out" / TABLE_FILE).num_rows == NUM_FRAMES


def spoilt_labels(shelf: Shelf, name: str, adv_ind: np.ndarray) -> Labels:
    """Labels that claim the rule of Monday's, and hold others."""
    source = shelf.store.path(shelf.labels)
    marks = table_of(shelf, shelf.labels)

    def build(area: Build) -> Built:
        write_label_table(area.output / LABELS_FILE, marks._replace(adv_ind=adv_ind))
        shutil.copyfile(source / "rule.json", area.output / "rule.json")
        return Built(shelf.labels.details())

    inputs = {"dataset": shelf.dataset, "values": shelf.values}
    return shelf.store.produce(LABEL, keyed(name), inputs, name=name, build=build)


@pytest.mark.parametrize(
    ("where", "label", "message"),
    [
        (8, 0, "frame 8 is labelled 'none' .* an autonomous frame is positive or negative"),
        (21, 1, "frame 21 is labelled 'negative' .* a corrected frame is positive"),
        (19, 2, "frame 19 is labelled 'positive' .* a paused frame has no label"),
        (2, 1, "frame 2 is labelled 'negative' .* a demonstration keeps its label"),
    ],
)
def test_labels_that_break_their_rule_are_not_written(
    shelf: Shelf, copy: DatasetCopy, where: int, label: int, message: str
) -> None:
    """One wrong frame is enough, and nothing is published."""
    adv_ind = table_of(shelf, shelf.labels).adv_ind.copy()
    adv_ind[where] = label
    labels = spoilt_labels(shelf, f"spoilt-{where}", adv_ind)

    with pytest.raises(ColumnError, match=message):
        relabel_dataset(copy, labels, name="never", store=shelf.store)

    assert not any(m.name == "never" for m in shelf.store.artifacts())


def test_a_share_that_was_not_asked_for_is_not_written(shelf: Shelf, copy: DatasetCopy) -> None:
    """Two autonomous frames changed places: counts are right, ranks are not."""
    marks = table_of(shelf, shelf.labels)
    best, worst = (int(np.flatnonzero(marks.rank == rank)[0]) for rank in (0, 25))
    adv_ind = marks.adv_ind.copy()
    adv_ind[[best, worst]] = adv_ind[[worst, best]]
    labels = spoilt_labels(shelf, "swapped", adv_ind)

    with pytest.raises(ColumnError, match=r"\(2 of 36 frames are like it\), but the best 0.4 of"):
        relabel_dataset(copy, labels, name="never", store=shelf.store)


def test_a_changed_column_is_noticed(shelf: Shelf, tmp_path: Path) -> None:
    """A single number of another column, a row too few, and a label that was not written."""
    source = shelf.store.path(shelf.dataset)
    adv_ind = table_of(shelf, shelf.labels).adv_ind
    write_adv_ind(source, tmp_path / "out", adv_ind)
    check_relabel(source, tmp_path / "out", adv_ind)
    path = next((tmp_path / "out" / "data").rglob("*.parquet"))
    table = pq.read_table(path)
    reward = table.column("reward").to_numpy().copy()
    reward[3] = 0.5
    position = table.schema.get_field_index("reward")

    with pytest.raises(DataError, match=r"frames of .* hold another label"):
        check_relabel(source, tmp_path / "out", 3 - np.maximum(adv_ind, 1))
    pq.write_table(table.set_column(position, table.schema.field(position), [reward]), path)
    with pytest.raises(DataError, match="relabelling changed reward of"):
        check_relabel(source, tmp_path / "out", adv_ind)


def test_not_a_number_equals_itself(shelf: Shelf, tmp_path: Path) -> None:
    """A dataset that holds NaN can be relabelled."""
    source = shutil.copytree(shelf.store.path(shelf.dataset), tmp_path / "source")
    for path in source.rglob("*"):
        path.chmod(0o755)
    path = next((source / "data").rglob("*.parquet"))
    table = pq.read_table(path)
    position = table.schema.get_field_index("reward")
    reward = np.where(np.arange(table.num_rows) == 3, np.nan, 0).astype(np.float32)
    pq.write_table(table.set_column(position, table.schema.field(position), [reward]), path)
    adv_ind = table_of(shelf, shelf.labels).adv_ind

    write_adv_ind(source, tmp_path / "out", adv_ind)

    check_relabel(source, tmp_path / "out", adv_ind)


def test_a_sweep_is_what_labelling_would_do(shelf: Shelf) -> None:
    """Positives and flips of one point, beside labels with those settings."""
    rule = LabelConfig(lookahead=7, positive_share=0.25)
    labels = made_labels(shelf.store, shelf.dataset, shelf.values, rule, "swept")
    result = sweep_labels(
        shelf.dataset,
        shelf.values,
        LabelConfig(),
        lookaheads=(4, 7, None),
        shares=(0.25, 0.4),
        base=shelf.labels,
        store=shelf.store,
    )

    row = next(r for r in result.rows() if (r["lookahead"], r["share"]) == (7, 0.25))
    judged = table_of(shelf, labels).rank >= 0
    old, new = (table_of(shelf, made).adv_ind[judged] == 2 for made in (shelf.labels, labels))
    assert row["positive"] == new.sum() == 7
    # The only failure is the first rollout, the first 10 of the 26 frames that are judged.
    assert row["tasks"]["transfer cube"]["in_failures"] == new[:10].sum() / 10
    assert row["in_successes"] == new[10:].sum() / 16
    assert (row["gained"], row["lost"]) == ((new & ~old).sum(), (old & ~new).sum())
    same = next(r for r in result.rows() if (r["lookahead"], r["share"]) == (4, 0.4))
    assert (same["gained"], same["lost"]) == (0, 0)
    page = render_page(sweep_page(result))
    assert "Agreement with outcome" in page
    assert "Flipped" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_sweep_of_nonsense_is_refused(shelf: Shelf) -> None:
    """A share above one, a rule with an absolute threshold, values of another dataset."""

    def sweep(config: LabelConfig, share: float, dataset: Artifact = shelf.dataset) -> None:
        sweep_labels(
            dataset,  # pyright: ignore[reportArgumentType] - a dataset, of either day
            shelf.values,
            config,
            lookaheads=(4,),
            shares=(share,),
            base=None,
            store=shelf.store,
        )

    with pytest.raises(ConfigError, match=r"share must be in \(0, 1\], got 1.5"):
        sweep(LabelConfig(), 1.5)
    with pytest.raises(ConfigError, match="absolute threshold"):
        sweep(LabelConfig(threshold=0.1), 0.3)
    with pytest.raises(IncompatibleError, match="belong to dataset"):
        sweep(LabelConfig(), 0.3, shelf.later)


def test_a_diff_of_one_dataset_counts_every_flip(shelf: Shelf) -> None:
    """By task and by episode, against the labels themselves."""
    other = made_labels(shelf.store, shelf.dataset, shelf.values, "paper_speed", "speed")
    sides = [Labelled(shelf.dataset, labels) for labels in (shelf.labels, other)]

    diff = diff_labels(sides[0], sides[1], store=shelf.store)

    old, new = (table_of(shelf, labels).adv_ind for labels in (shelf.labels, other))
    facts = diff.plain()
    assert facts["tasks"][0]["gained"] == ((new == 2) & (old != 2)).sum()
    assert facts["tasks"][0]["lost"] == ((old == 2) & (new != 2)).sum() > 0
    changed = {episode["after"]: episode["transitions"] for episode in facts["changed_episodes"]}
    ends = np.cumsum([episode.length for episode in EPISODES])
    assert sum(changed[1].values()) == (old != new)[ends[0] : ends[1]].sum()
    assert 0 not in changed  # the demonstration
    page = render_page(diff_page(diff, num_episodes=1))
    assert page.count("data:image/jpeg") >= 1
    assert "more episodes changed" in page


def test_a_diff_across_rounds_matches_raw_episodes(shelf: Shelf) -> None:
    """Tuesday's dataset holds Monday's four episodes and one more."""
    diff = diff_labels(
        Labelled(shelf.later, shelf.later_labels),
        Labelled(shelf.dataset, shelf.labels),
        store=shelf.store,
    )

    facts = diff.plain()
    assert (facts["episodes"], facts["only_before"], facts["only_after"]) == (4, 1, 0)
    assert facts["frames"] == NUM_FRAMES
    assert "1 episode is only in the first dataset" in render_page(diff_page(diff, num_episodes=0))


def test_an_explanation_adds_up(shelf: Shelf, relabeled: RelabeledDataset) -> None:
    """Every number of a frame in the middle of a failure, from the relabelled dataset."""
    found = explain_frame(labelled(shelf.store, relabeled), 1, 3, store=shelf.store)

    values = read_values(shelf.store.path(shelf.values))
    marks = table_of(shelf, shelf.labels)
    assert found.window is not None
    assert found.threshold is not None
    # T_max is 11 (12 frames, one of them paused) and C = 11; four frames cost 4/22.
    assert found.window.reward_sum == pytest.approx(-4 / 22)
    assert (found.window.num_frames, found.window.end_frame) == (4, 7)
    assert found.window.end_value == pytest.approx(values[6 + 7])
    assert found.value == pytest.approx(values[6 + 3])
    expected = found.window.reward_sum + found.window.end_value - values[9]
    assert found.advantage == pytest.approx(expected, abs=1e-6)
    assert found.threshold.rank == marks.rank[9] + 1
    assert (found.threshold.pool_size, found.threshold.num_positive) == (26, 11)
    assert found.label == ("positive" if marks.rank[9] < 11 else "negative")
    assert found.labels == f"monday-labels-{shelf.labels.id[:8]}"
    assert json.loads(json.dumps(found.plain()))["window"]["ends_at"] == "the end of the lookahead"


@pytest.mark.parametrize(
    ("episode", "frame", "label", "because"),
    [
        (0, 2, "positive", "demonstrations keep the label"),
        (1, 9, None, "its advantage is number"),
        (2, 3, "none", "the robot was paused"),
        (2, 5, "positive", "corrections are positive"),
    ],
)
def test_every_kind_of_frame_is_explained(
    shelf: Shelf, episode: int, frame: int, label: str | None, because: str
) -> None:
    """The rule that decided is the one that is named."""
    source = labelled(shelf.store, shelf.labels)

    found = explain_frame(source, episode, frame, store=shelf.store)

    assert label is None or found.label == label
    assert found.because.startswith(because) or because in found.because


@pytest.mark.parametrize("name", LABEL_PRESETS)
def test_every_preset_explains_every_frame(shelf: Shelf, name: str) -> None:
    """Also at a takeover, at the end of an episode, and where all frames share a threshold."""
    labels = made_labels(shelf.store, shelf.dataset, shelf.values, name, f"of-{name}")
    marks = table_of(shelf, labels)

    for episode, frame in ((0, 0), (1, 9), (2, 1), (2, 3), (2, 4), (3, 7)):
        source = Labelled(shelf.dataset, labels)
        found = explain_frame(source, episode, frame, store=shelf.store)  # checks the sum itself
        assert found.label == ("none", "negative", "positive")[marks.adv_ind[found.index]]
        assert found.preset == name
    cut = explain_frame(Labelled(shelf.dataset, labels), 2, 1, store=shelf.store)
    assert cut.window is not None
    assert (cut.window.ends_at == "the operator's takeover") == (name == "sim_demo")


def test_an_explanation_that_does_not_add_up_is_refused(shelf: Shelf) -> None:
    """Advantages that values and rule do not lead to."""
    marks = table_of(shelf, shelf.labels)
    source = shelf.store.path(shelf.labels)

    def build(area: Build) -> Built:
        write_label_table(
            area.output / LABELS_FILE, marks._replace(advantage=marks.advantage + np.float32(0.1))
        )
        shutil.copyfile(source / "rule.json", area.output / "rule.json")
        return Built(shelf.labels.details())

    inputs = {"dataset": shelf.dataset, "values": shelf.values}
    wrong = shelf.store.produce(LABEL, keyed("wrong"), inputs, name="wrong", build=build)

    with pytest.raises(CorruptArtifactError, match=r"hold advantage .* lead to"):
        explain_frame(Labelled(shelf.dataset, wrong), 1, 3, store=shelf.store)


def test_a_frame_that_is_not_there(shelf: Shelf) -> None:
    """The error says what there is."""
    source = Labelled(shelf.dataset, shelf.labels)

    with pytest.raises(ConfigError, match="no episode 4; the dataset has 0 to 3"):
        explain_frame(source, 4, 0, store=shelf.store)
    with pytest.raises(ConfigError, match="episode 1 has no frame 10; it has 0 to 9"):
        explain_frame(source, 1, 10, store=shelf.store)


def test_what_is_meant_by_a_name(shelf: Shelf, relabeled: RelabeledDataset) -> None:
    """Values and labels of a dataset, of what was made from it, and of neither."""
    newest = made_values(shelf.store, shelf.dataset, seed=5)

    assert valued(shelf.store, shelf.dataset) == (shelf.dataset, newest)
    assert valued(shelf.store, relabeled).dataset == shelf.dataset
    assert valued(shelf.store, shelf.values) == (shelf.dataset, shelf.values)
    assert labelled(shelf.store, relabeled) == (relabeled, shelf.labels)
    assert targets_of_values(shelf.store, newest) is None
    with pytest.raises(IncompatibleError, match="values or a dataset was expected"):
        valued(shelf.store, shelf.labels)
    with pytest.raises(IncompatibleError, match="has no labels; name labels"):
        labelled(shelf.store, shelf.values)


def test_a_dataset_without_values_says_what_to_run(tmp_path: Path) -> None:
    """And one without labels."""
    from tests.core.stages.label_shelf import made_dataset

    store = Store(tmp_path / "home")
    bare = made_dataset(store, "bare", EPISODES)

    with pytest.raises(
        ArtifactNotFoundError,
        match=r"bare-\w{8}, nor of any other in this store. Infer them with: recap value infer",
    ):
        valued(store, bare)
    with pytest.raises(ArtifactNotFoundError, match=r"no labels. Make some with: recap label"):
        labelled(store, bare)
    table = read_frames(store.path(bare))
    check_training_labels(bare, table, reads_labels=True, store=store)  # corrections: stage 3


def test_corrections_with_a_frozen_arm_are_not_blindly_positive(
    shelf: Shelf, copy: DatasetCopy
) -> None:
    """Both arms of the made-up robot move alike; of the last dim alone, one stands still."""
    # Arms of two dims each; the second "arm" is a dim against itself: see the ratio.
    alike = FrozenArmConfig(arms=((0, 2), (2, 4)))
    uneven = FrozenArmConfig(arms=((0, 4), (3, 4)), ratio=0.5, label="none")

    both = made_labels(
        shelf.store, shelf.dataset, shelf.values, LabelConfig(frozen_arms=alike), "alike"
    )
    one = made_labels(
        shelf.store, shelf.dataset, shelf.values, LabelConfig(frozen_arms=uneven), "uneven"
    )

    corrected = slice(6 + 10 + 4, 6 + 10 + 7)
    assert table_of(shelf, both).adv_ind[corrected].tolist() == [2, 2, 2]
    assert table_of(shelf, one).adv_ind[corrected].tolist() == [0, 0, 0]
    relabel_dataset(copy, one, name="frozen", store=shelf.store)  # the checks know the option
    found = explain_frame(Labelled(shelf.dataset, one), 2, 5, store=shelf.store)
    assert found.because.startswith("an arm stood still")


def test_training_refuses_labels_of_another_dataset(
    shelf: Shelf, copy: DatasetCopy, relabeled: RelabeledDataset
) -> None:
    """Parents that do not belong together, and a sidecar of other labels."""
    table = read_frames(shelf.store.path(relabeled))
    check_training_labels(relabeled, table, reads_labels=True, store=shelf.store)

    def forged(name: str, labels: Labels, *, facts: dict[str, object] | None = None) -> Artifact:
        def build(area: Build) -> Built:
            root = shelf.store.path(relabeled)
            shutil.copytree(root, area.output, dirs_exist_ok=True, ignore=_no_manifest)
            for path in area.output.rglob("*"):
                path.chmod(0o755)
            area.output.chmod(0o755)
            (area.output / FACTS_FILE).write_text(json.dumps(facts or {"labels": labels.id}))
            return Built(relabeled.details())

        inputs = {"copy": copy, "labels": labels}
        return shelf.store.produce(RELABEL, keyed(name), inputs, name=name, build=build)

    mixed = forged("mixed", shelf.later_labels)
    told = forged("told", shelf.labels, facts={"labels": shelf.later_labels.id})
    assert isinstance(mixed, RelabeledDataset)
    assert isinstance(told, RelabeledDataset)
    with pytest.raises(IncompatibleError, match="is a copy of dataset"):
        check_training_labels(mixed, table, reads_labels=True, store=shelf.store)
    with pytest.raises(IncompatibleError, match="says in its meta directory"):
        check_training_labels(told, table, reads_labels=True, store=shelf.store)


def test_training_on_no_labels_at_all_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    """The error names what to run; SFT, which reads no labels, goes on."""
    source = shelf.store.path(shelf.dataset)
    write_adv_ind(source, tmp_path / "out", np.zeros(NUM_FRAMES, np.int8))
    table = read_frames(tmp_path / "out")

    check_training_labels(shelf.dataset, table, reads_labels=False, store=shelf.store)
    with pytest.raises(DataError, match=r"all 36 frames .* recap label apply .* --relabel"):
        check_training_labels(shelf.dataset, table, reads_labels=True, store=shelf.store)


def test_a_dataset_without_values_is_not_sent_to_the_label_rule(tmp_path: Path) -> None:
    """As in a round that fell back to stage 3, where the operator corrected nothing."""
    from tests.core.stages.label_shelf import made_dataset

    store = Store(tmp_path / "home")
    bare = made_dataset(store, "bare", EPISODES)
    write_adv_ind(store.path(bare), tmp_path / "out", np.zeros(NUM_FRAMES, np.int8))

    with pytest.raises(DataError, match=r"no values .* corrected nothing in it: record correct"):
        check_training_labels(bare, read_frames(tmp_path / "out"), reads_labels=True, store=store)


def _no_manifest(directory: str, names: list[str]) -> list[str]:
    del directory
    return [name for name in names if name == "artifact.json"]
