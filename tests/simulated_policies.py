"""Policies that can be loaded and drive the simulated robot, badly, in a few milliseconds."""

from recap_core.config.base import Config
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
from tests.core.serving.tiny import CONFIG, write_checkpoint

BLIND = CONFIG.model_copy(
    update={
        "model": CONFIG.model.model_copy(update={"views": ()}),
        "embodiment": EmbodimentConfig(normalization="z_score"),
    }
)
"""The smallest policy, reading joint positions only."""


def make_tiny_policy(store: Store, name: str, seed: int) -> PolicyCheckpoint:
    """A policy with random parameters."""

    def build(area: Build) -> Built:
        write_checkpoint(area.output, seed=seed, config=BLIND)
        return Built({"num_steps": 1, "num_params": 1})

    stage = Stage(f"tiny-{seed}", 1, PolicyCheckpoint)
    return store.produce(stage, Config(), {}, name=name, build=build)
