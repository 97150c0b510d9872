"""A synthetic robot's dataset, and the smallest policy and value model for it."""

from pathlib import Path

import numpy as np

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.labels import TargetConfig
from recap_core.config.policy import GemmaConfig, PolicyConfig, PolicyModelConfig, PromptConfig
from recap_core.config.policy import SiglipConfig as Siglip
from recap_core.config.stages import TrainPolicyConfig, TrainValueConfig
from recap_core.config.training import TrainConfig
from recap_core.config.value import Gemma3Config, ValueConfig, ValueModelConfig
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.transforms.normalize import FeatureStats, NormStats
from recap_core.transforms.policy_transform import PolicyTransform
from recap_core.transforms.value_transform import ValueTransform

STATE_DIM, ACTION_DIM, HORIZON = 4, 4, 3
EMBODIMENT = EmbodimentConfig(normalization="z_score")
_SIGLIP = Siglip(width=8, depth=1, mlp_dim=8, num_heads=1)
_EXPERT = GemmaConfig(width=8, depth=1, mlp_dim=8, num_heads=1, num_kv_heads=1, head_dim=4)


def dataset(root: Path, *, cameras: tuple[str, ...] = ()) -> FrameTable:
    """Two tasks, four episodes of 12, 15, 10 and 9 frames; one joint and a gripper per arm."""
    episodes = (
        SyntheticEpisode(length=12),
        SyntheticEpisode(length=15, interventions=(6, 7, 8)),
        SyntheticEpisode(length=10, success=False, paused=(3,), interventions=(4, 5)),
        SyntheticEpisode(length=9, success=False, task="lift cube"),
    )
    write_synthetic_dataset(root, episodes, SyntheticRobot(num_joints=1, cameras=cameras))
    return read_frames(root)


def norm_stats() -> NormStats:
    """Mean 0.5 and std 2 everywhere."""
    stats = FeatureStats(mean=np.full(4, 0.5), std=np.full(4, 2.0))
    return NormStats({"state": stats, "actions": stats})


def train_policy_config(**changes: object) -> TrainPolicyConfig:
    """A policy of a few hundred parameters; ``changes`` go to its architecture."""
    fields = {
        "vlm": _EXPERT,
        "expert": _EXPERT,
        "siglip": _SIGLIP,
        "vocab_size": 400,
        "views": (),
        "action_dim": ACTION_DIM + 1,
        "action_horizon": HORIZON,
        "max_token_len": 12,
        "state_input": "continuous",
        "compute_dtype": "float32",
    } | changes
    policy = PolicyConfig(
        model=PolicyModelConfig.model_validate(fields),
        embodiment=EMBODIMENT,
        prompt=PromptConfig(tokenizer="tiny"),
        num_denoise_steps=2,
    )
    return TrainPolicyConfig(policy=policy, train=TrainConfig(num_steps=4, batch_size=8, seed=3))


def policy_transform(config: PolicyConfig) -> PolicyTransform:
    """The transform of the synthetic robot."""
    model = config.model
    tokenizer = PromptTokenizer(config.prompt, model.max_token_len, model.state_input)
    return PolicyTransform(
        config, norm_stats(), tokenizer, state_dim=STATE_DIM, action_dim=ACTION_DIM
    )


def train_value_config(**changes: object) -> TrainValueConfig:
    """A value model of a few hundred parameters; ``changes`` go to its architecture."""
    fields = {
        "gemma": Gemma3Config(
            width=8, depth=1, mlp_dim=8, num_heads=1, num_kv_heads=1, head_dim=4, global_every=1
        ),
        "siglip": _SIGLIP,
        "vocab_size": 400,
        "views": (),
        "head_hidden": 8,
        "num_bins": 21,
        "max_token_len": 8,
        "state_dim": 6,
        "state_input": "continuous",
        "compute_dtype": "float32",
    } | changes
    value = ValueConfig(
        model=ValueModelConfig.model_validate(fields),
        embodiment=EMBODIMENT,
        prompt=PromptConfig(tokenizer="tiny", advantage=False),
    )
    return TrainValueConfig(
        value=value,
        train=TrainConfig(num_steps=4, batch_size=8, seed=3),
        targets=TargetConfig(rule="fixed_limit", limit_frames=20),
    )


def value_transform(config: ValueConfig) -> ValueTransform:
    """The transform of the synthetic robot."""
    model = config.model
    tokenizer = PromptTokenizer(config.prompt, model.max_token_len, model.state_input)
    return ValueTransform(config, norm_stats(), tokenizer)
