"""A store with rollouts, a demonstration and an untrained value model, for tests of stage 5."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from recap_core.checkpoints.value_checkpoint import ValueSettings, write_value_model
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.lineage.artifacts import Dataset, ValueCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.models.value_model import ValueModel
from recap_core.stages.registry import CONVERT, TRAIN_VALUE, NoSettings
from tests.core.training import robot


class Inputs(NamedTuple):
    """What values are inferred from."""

    dataset: Dataset
    """Episodes: a rollout of 12 frames, a demonstration of 10, two rollouts of ``length``."""
    value_model: ValueCheckpoint
    store: Store


def store_inputs(home: Path, *, length: int = 9, cameras: tuple[str, ...] = ()) -> Inputs:
    """Make both artifacts; without cameras the model reads the state alone."""
    store = Store(home)
    episodes = (
        SyntheticEpisode(length=12, interventions=(4, 5)),
        SyntheticEpisode(length=10, demonstration=True),
        SyntheticEpisode(length=length, success=False, paused=(3,)),
        SyntheticEpisode(length=length),
    )

    def build_dataset(area: Build) -> Built:
        simulated = SyntheticRobot(num_joints=1, cameras=cameras)
        summary = write_synthetic_dataset(area.output, episodes, simulated)
        return Built(summary._asdict())

    config = robot.train_value_config()

    def build_model(area: Build) -> Built:
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(ValueModel(config.value.model).init, jax.random.key(0))
        params = jax.tree.map(lambda x: 0.5 * rng.standard_normal(x.shape, np.float32), shapes)
        settings = ValueSettings(config.value, config.targets, robot.norm_stats())
        write_value_model(area.output, params, params, settings)
        return Built({"num_steps": 1, "num_params": 1, "healthy": True})

    dataset = store.produce(CONVERT, NoSettings(), {}, name="rollouts", build=build_dataset)
    model = store.produce(TRAIN_VALUE, config, {"dataset": dataset}, name="v", build=build_model)
    return Inputs(dataset, model, store)
