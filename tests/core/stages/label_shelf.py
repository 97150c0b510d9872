"""A store with two datasets that share episodes, their values and labels, made by real stages."""

from typing import NamedTuple

import numpy as np

from recap_core.config.interchange import LabelSourceConfig
from recap_core.config.labels import LABEL_PRESETS, LabelConfig
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.lineage.artifacts import AnyDataset, Dataset, Labels, Values
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.label import label_dataset
from recap_core.stages.registry import CONVERT, INFER_VALUES
from recap_core.valuation.values import write_values

ROBOT = SyntheticRobot(arms=("left", "right"), num_joints=1, cameras=("head_camera",), image_px=16)
EPISODES = (
    SyntheticEpisode(length=6, demonstration=True),
    SyntheticEpisode(length=10, success=False),
    SyntheticEpisode(length=12, interventions=(4, 5, 6), paused=(3,)),
    SyntheticEpisode(length=8),
)
NUM_FRAMES = 36


class Shelf(NamedTuple):
    """Monday's dataset and one with an episode more, as after another round."""

    store: Store
    dataset: Dataset
    values: Values
    labels: Labels
    later: Dataset
    later_labels: Labels


def keyed(name: str) -> LabelSourceConfig:
    """Any config: it keeps the keys of made-up artifacts apart."""
    return LabelSourceConfig(tool="rlinf", tag=name)


def made_dataset(
    store: Store, name: str, episodes: tuple[SyntheticEpisode, ...], source: str = "monday"
) -> Dataset:
    """A dataset whose episodes are known by the recording ``source``."""

    def build(area: Build) -> Built:
        summary = write_synthetic_dataset(area.output, episodes, ROBOT, source=source)
        return Built(summary._asdict())

    return store.produce(CONVERT, keyed(name), {}, name=name, build=build)


def made_values(store: Store, dataset: AnyDataset, seed: int = 0) -> Values:
    """V in hundredths, drawn at random."""

    def build(area: Build) -> Built:
        rng = np.random.default_rng(seed)
        write_values(area.output, (-rng.integers(0, 101, dataset.num_frames) / 100).astype("f4"))
        return Built({"num_frames": dataset.num_frames})

    config, inputs = keyed(f"v{seed}"), {"dataset": dataset}
    return store.produce(INFER_VALUES, config, inputs, name="values", build=build)


def made_labels(
    store: Store, dataset: AnyDataset, values: Values, rule: LabelConfig | str, name: str
) -> Labels:
    """Labels by a rule, or by a named one."""
    config = LABEL_PRESETS[rule] if isinstance(rule, str) else rule
    return label_dataset(dataset, values, config, name=name, store=store)


def make_shelf(store: Store) -> Shelf:
    """Everything above."""
    dataset = made_dataset(store, "monday", EPISODES)
    values = made_values(store, dataset)
    labels = made_labels(store, dataset, values, LabelConfig(lookahead=4), "monday-labels")
    later = made_dataset(store, "tuesday", (*EPISODES, SyntheticEpisode(length=9)))
    later_labels = made_labels(
        store, later, made_values(store, later, seed=1), LabelConfig(lookahead=4), "tuesday-labels"
    )
    return Shelf(store, dataset, values, labels, later, later_labels)
