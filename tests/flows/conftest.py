"""The smallest project whose every stage does real work."""

from collections.abc import Mapping

import pytest

from recap_core.config.environment import recap_home
from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import full_size_project, plumbing_project
from recap_core.lineage.project_files import project_name, save_project

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


def saved(project: ProjectConfig) -> str:
    """The name of a project whose settings are in the store now; flows take names."""
    save_project(recap_home(), project)
    return project_name(project)


SMALL_GEMMA = {"width": 16, "depth": 1, "mlp_dim": 32, "num_heads": 2, "head_dim": 8}
SMALL_SIGLIP = {"width": 16, "depth": 1, "mlp_dim": 32, "num_heads": 2, "patch_px": 14}
SMALL_INPUTS = {"siglip": SMALL_SIGLIP, "vocab_size": 400, "image_px": 28}
FEW_PIXELS = {"robot.image_px": 32}


def put_all(settings: dict, prefix: str, changes: Mapping[str, object]) -> None:
    for key, value in changes.items():
        put(settings, f"{prefix}.{key}" if prefix else key, value)


@pytest.fixture(scope="session")
def small_single_gpu_project() -> ProjectConfig:
    """``--preset single_gpu`` with nothing changed but sizes and counts: LoRA, three cameras."""
    settings = full_size_project("single_gpu").model_dump(mode="json")
    put_all(settings, "", CHANGES | {"iteration.collect.num_episodes": 8})
    put_all(settings, "bootstrap.demonstrations", FEW_PIXELS)
    put_all(settings, "iteration.collect", FEW_PIXELS)
    for stage in ("bootstrap", "iteration"):
        put_all(settings, f"{stage}.evaluation", FEW_PIXELS | {"max_episode_frames": 10})
    for policy in POLICIES[:3]:
        put_all(settings, f"{policy}.train", SMALL_TRAINING)
        put_all(settings, f"{policy}.policy", {"prompt.tokenizer": "tiny", "num_denoise_steps": 1})
        put_all(settings, f"{policy}.policy.model", SMALL_INPUTS)
        for expert in ("vlm", "expert"):
            put_all(settings, f"{policy}.policy.model.{expert}", SMALL_GEMMA)
    put_all(settings, "iteration.value.train", SMALL_TRAINING)
    put(settings, "iteration.value.validation.interval", 2)
    put_all(settings, "iteration.value.value", {"prompt.tokenizer": "tiny"})
    put_all(settings, "iteration.value.value.model", SMALL_INPUTS)
    put_all(settings, "iteration.value.value.model.gemma", SMALL_GEMMA)
    return ProjectConfig.model_validate(settings)
