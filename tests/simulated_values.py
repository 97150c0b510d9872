"""A value model of the simulator's own data, at a size that trains in seconds.

A policy that wanders never hands the cube over; in half of the episodes the supervisor takes over
and does. So both outcomes are there, and the state shows which one is coming.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recap_core.collection.session import collect
from recap_core.config.annotations import AnnotateConfig, EpisodeAnnotation
from recap_core.config.collection import CollectConfig
from recap_core.config.dataset import ConvertConfig
from recap_core.config.presets import tiny_project
from recap_core.config.robot import SimRobotConfig, SupervisorConfig
from recap_core.config.stages import TrainValueConfig
from recap_core.lineage.artifacts import Dataset, NormStats, Recording, ValueCheckpoint
from recap_core.lineage.keys import Stage
from recap_core.lineage.links import link_tree
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Silent
from recap_core.rollout.frame import Observation
from recap_core.stages.annotate import annotate_episodes
from recap_core.stages.convert import convert_recording
from recap_core.stages.norm_stats import compute_norm_stats
from recap_core.stages.train_value import train_value_model

NUM_EPISODES, LIMIT = 30, 40
SESSION = CollectConfig(
    num_episodes=NUM_EPISODES,
    max_episode_frames=LIMIT,
    round_index=1,
    robot=SimRobotConfig(cameras=()),
    supervisor=SupervisorConfig(
        supervised_share=0.5, takeover_frames=40, stall_frames=3, grace_frames=3
    ),
)


class Wandering:
    """Small random steps from where the robot is, seeded by episode and frame."""

    def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
        """Four steps each."""
        return [self._chunk(observation) for observation in observations]

    def reset(self) -> None:
        """Nothing to forget."""

    @staticmethod
    def _chunk(observation: Observation) -> np.ndarray:
        rng = np.random.default_rng([observation["episode_seed"], observation["frame_index"]])
        steps = np.cumsum(rng.normal(0, 0.05, (4, 14)), axis=0)
        return (observation["observation.state"] + steps).astype(np.float32)


def value_settings() -> TrainValueConfig:
    """The demo's value model, shallower, for 150 steps; the bars are the defaults."""
    settings = tiny_project(cameras=False).iteration.value.model_dump(mode="json")
    settings["value"]["model"]["gemma"]["depth"] = 1
    settings["targets"]["limit_frames"] = LIMIT
    settings["train"] |= {"num_steps": 150, "batch_size": 64}
    settings["train"]["optimizer"] |= {"peak_lr": 2e-3, "warmup_steps": 10, "decay_steps": 150}
    settings["health"] |= {"held_out_share": 0.2, "num_bootstrap": 200}
    return TrainValueConfig.model_validate(settings)


class SimulatedValues(NamedTuple):
    """One recording, and what is made of it under this or that correction."""

    store: Store
    recording: Recording
    dataset: Dataset
    norm_stats: NormStats

    @property
    def names(self) -> list[str]:
        """Raw episodes, in the order of the dataset."""
        return sorted(path.name for path in self.store.path(self.recording).glob("episode_*"))

    def corrected(self, *episodes: EpisodeAnnotation) -> Dataset:
        """The same recording with corrected marks."""
        annotations = annotate_episodes(
            self.recording, AnnotateConfig(episodes=episodes), name="corrections", store=self.store
        )
        return convert_recording(
            self.recording,
            ConvertConfig(),
            annotations=annotations,
            name="corrected",
            store=self.store,
        )

    def value_model(self, dataset: Dataset) -> ValueCheckpoint:
        """The value model of a dataset; trained at the first call."""
        return train_value_model(
            dataset, self.norm_stats, value_settings(), name="value", store=self.store
        )


def simulated_values(home: Path) -> SimulatedValues:
    """Record and convert the episodes."""
    store = Store(home)

    def build(area: Build) -> Built:
        session = area.work / "session"
        summary = collect(SESSION, Wandering(), session, num_robots=15, progress=Silent())
        link_tree(session, area.output, digests=None)
        left_out = {"num_discarded", "num_intervention_episodes"}
        return Built(summary.model_dump(mode="json", exclude=left_out))

    recording = store.produce(Stage("wander", 1, Recording), SESSION, {}, name="day", build=build)
    dataset = convert_recording(recording, ConvertConfig(), name="day", store=store)
    statistics = tiny_project(cameras=False).bootstrap.norm_stats
    norm_stats = compute_norm_stats(dataset, statistics, name="day", store=store)
    return SimulatedValues(store, recording, dataset, norm_stats)
