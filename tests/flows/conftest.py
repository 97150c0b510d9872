"""The smallest project whose every stage does real work."""

import pytest

from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import plumbing_project

CHANGES = {
    "bootstrap.demonstrations.num_episodes": 3,
    "bootstrap.evaluation.num_episodes": 2,
    "iteration.evaluation.num_episodes": 2,
    # Half of the episodes fail, and enough of both outcomes are held out for the health gate.
    "iteration.collect.num_episodes": 16,
    "iteration.collect.supervisor.supervised_share": 0.5,
    "iteration.collect.supervisor.takeover_frames": 40,
    "iteration.value.health.held_out_share": 0.3,
    "iteration.value.health.min_spearman": -1,
    "iteration.value.health.min_separation": -1,
    "iteration.value.health.max_bin_share": 1,
    "iteration.value.health.num_bootstrap": 100,
}
POLICIES = ("bootstrap.sft", "iteration.finetune", "iteration.stage3", "iteration.control")
SMALL_TRAINING = {
    "num_steps": 4,
    "batch_size": 4,
    "optimizer.warmup_steps": 1,
    "optimizer.decay_steps": 4,
}


def put(settings: dict, key: str, value: object) -> None:
    """Set ``a.b.c`` of nested settings."""
    *parents, name = key.split(".")
    for parent in parents:
        settings = settings[parent]
    settings[name] = value


@pytest.fixture(scope="session")
def small_project() -> ProjectConfig:
    """The plumbing demo with one-layer models and four training steps."""
    settings = plumbing_project(cameras=False).model_dump(mode="json")
    for key, value in CHANGES.items():
        put(settings, key, value)
    for name, value in SMALL_TRAINING.items():
        for model in (*POLICIES, "iteration.value"):
            put(settings, f"{model}.train.{name}", value)
    for policy in POLICIES:
        put(settings, f"{policy}.policy.model.vlm.depth", 1)
        put(settings, f"{policy}.policy.model.expert.depth", 1)
        put(settings, f"{policy}.policy.num_denoise_steps", 1)
    put(settings, "iteration.value.value.model.gemma.depth", 1)
    return ProjectConfig.model_validate(settings)
