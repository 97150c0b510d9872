"""Labels of values that are not everyday ones: of rollouts alone, or of an imported model."""

from pathlib import Path

import numpy as np
import pytest

from recap_core.checkpoints.value_checkpoint import ValueSettings, write_value_model
from recap_core.config.dataset import MergeConfig
from recap_core.config.labels import LABEL_PRESETS, TargetConfig
from recap_core.config.stages import ReportConfig
from recap_core.errors import IncompatibleError
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.label_diff import diff_labels
from recap_core.stages.label_references import Labelled
from recap_core.stages.label_sweep import sweep_labels, sweep_page
from recap_core.stages.merge import merge_datasets
from recap_core.stages.registry import IMPORT_VALUE, INFER_VALUES
from recap_core.stages.report_episodes import label_parts
from recap_core.valuation.values import write_values
from tests.core.stages.label_shelf import (
    EPISODES,
    NUM_FRAMES,
    keyed,
    made_dataset,
    made_labels,
    made_values,
)
from tests.core.training import robot


def test_a_pool_of_all_frames_needs_no_values_of_demonstrations_that_are_not_there(
    tmp_path: Path,
) -> None:
    """Values of rollouts are values of all frames, where there are only rollouts."""
    store = Store(tmp_path)
    dataset = made_dataset(store, "rollouts", EPISODES[1:])

    def build(area: Build) -> Built:
        write_values(area.output, np.linspace(-1, 0, 30, dtype=np.float32))
        return Built({"num_frames": 30, "frames": "rollouts", "num_missing": 0})

    inputs = {"dataset": dataset}
    values = store.produce(INFER_VALUES, keyed("rollouts"), inputs, name="values", build=build)

    labels = made_labels(store, dataset, values, "paper_pretrain", "labels")

    assert labels.num_none == 1, "the pause"


def test_a_report_of_values_from_an_imported_model(tmp_path: Path) -> None:
    """Its settings are no training's: what it counts is in the checkpoint."""
    store, config = Store(tmp_path), robot.train_value_config()
    dataset = made_dataset(store, "monday", EPISODES)
    targets = TargetConfig(rule="fixed_limit", limit_frames=60)

    def build_model(area: Build) -> Built:
        params = {"w": np.zeros(1, np.float32)}
        settings = ValueSettings(config.value, targets, None)
        write_value_model(area.output, params, None, settings)
        return Built({"num_steps": 0, "num_params": 1, "healthy": False})

    def build_values(area: Build) -> Built:
        write_values(area.output, np.linspace(-1, 0, NUM_FRAMES, dtype=np.float32))
        return Built({"num_frames": NUM_FRAMES})

    model = store.produce(IMPORT_VALUE, keyed("import"), {}, name="published", build=build_model)
    inputs = {"dataset": dataset, "value_model": model}
    values = store.produce(
        INFER_VALUES, keyed("imported"), inputs, name="values", build=build_values
    )
    labels = made_labels(store, dataset, values, "sim_demo", "of-imported")

    parts = label_parts(store, dataset, values, labels, ReportConfig())

    failure = next(curve for curve in parts.curves if curve.outcome == "failure")
    np.testing.assert_array_equal(failure.targets, -1)
    success = next(curve for curve in parts.curves if curve.title.endswith("without help"))
    assert success.targets[0] == pytest.approx(-7 / 60)


def test_a_diff_does_not_mistake_episodes_without_a_name(tmp_path: Path) -> None:
    """Datasets that do not say where episodes come from share none, but with what they became."""
    store = Store(tmp_path)
    one, other = (made_dataset(store, name, EPISODES[1:], source="") for name in ("one", "other"))
    merged = merge_datasets([one, other], MergeConfig(), name="merged", store=store)
    sides = [
        Labelled(dataset, made_labels(store, dataset, values, "reference", dataset.name))
        for dataset in (one, other, merged)
        for values in [made_values(store, dataset)]
    ]

    with pytest.raises(IncompatibleError, match="share no episode"):
        diff_labels(sides[0], sides[1], store=store)
    assert diff_labels(sides[1], sides[2], store=store).matched.after.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("paper_finetune", "demonstrations and paused frames are not counted here: their labels"),
        ("reference", "Corrections and demonstrations are not counted here: their labels do not"),
        ("rlinf", "are not counted here, although this rule judges corrections too"),
    ],
)
def test_a_sweep_says_what_it_leaves_out(tmp_path: Path, preset: str, words: str) -> None:
    """Paused frames count where time passes on them; corrections may be judged as well."""
    store = Store(tmp_path)
    dataset = made_dataset(store, "monday", EPISODES)
    rule = LABEL_PRESETS[preset]

    result = sweep_labels(
        dataset,
        made_values(store, dataset),
        rule,
        lookaheads=[4],
        shares=[0.3],
        base=None,
        store=store,
    )

    assert words in sweep_page(result).notes[0].text
    assert result.num_frames == (26 if rule.paused_frames == "skip" else 27)
