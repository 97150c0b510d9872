"""Named settings: label rules, and projects from ``tiny`` to ``paper``."""

from typing import Literal

from recap_core.config.collection import CollectConfig, CollectRuntime
from recap_core.config.dataset import NormStatsConfig
from recap_core.config.embodiments import SIM_EMBODIMENT, YAM_EMBODIMENT
from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.flows import BootstrapConfig, IterationConfig, ProjectConfig, Runtime
from recap_core.config.gate import EXACTLY_AS_SUCCESSFUL
from recap_core.config.inference import InferRuntime
from recap_core.config.labels import LABEL_PRESETS, LabelConfig, TargetConfig
from recap_core.config.policy import PolicyConfig, PolicyModelConfig, PromptConfig
from recap_core.config.robot import SimRobotConfig
from recap_core.config.sizes import PI05, PI05_LORA, TINY_POLICY, TINY_VALUE, VALUE_670M
from recap_core.config.stages import (
    HealthConfig,
    InferValuesConfig,
    TrainPolicyConfig,
    TrainValueConfig,
)
from recap_core.config.training import (
    AugmentConfig,
    OptimizerConfig,
    SamplingConfig,
    TrainConfig,
    TrainRuntime,
    ValidationConfig,
)
from recap_core.config.value import ValueConfig, ValueModelConfig

type FullSizePreset = Literal["single_gpu", "paper"]
type SizePreset = Literal["tiny", "single_gpu", "paper"]

PRETRAINED_POLICY = "pretrained/pi05/base"
"""Ref under which projects of full size look for pi0.5's base checkpoint."""

PRETRAINED_VALUE = "pretrained/value/base"
"""Ref under which they look for a value model of pretrained SigLIP and Gemma 3."""


def sim_demo_labels(max_episode_frames: int) -> LabelConfig:
    """The demo's rule (SIM.md §6a) for episodes of another limit than the demo's."""
    targets = TargetConfig(rule="fixed_limit", limit_frames=max_episode_frames)
    return LABEL_PRESETS["sim_demo"].model_copy(update={"targets": targets})


def policy_config(preset: SizePreset) -> PolicyConfig:
    """The policy of a size preset."""
    if preset == "tiny":
        return PolicyConfig(
            model=TINY_POLICY,
            embodiment=SIM_EMBODIMENT,
            prompt=PromptConfig(tokenizer="tiny"),
            num_denoise_steps=8,
        )
    model: PolicyModelConfig = PI05_LORA if preset == "single_gpu" else PI05
    return PolicyConfig(model=model, embodiment=YAM_EMBODIMENT)


def value_config(preset: SizePreset) -> ValueConfig:
    """The value model of a size preset."""
    if preset == "tiny":
        return ValueConfig(
            model=TINY_VALUE,
            embodiment=SIM_EMBODIMENT,
            prompt=PromptConfig(tokenizer="tiny", advantage=False),
        )
    model: ValueModelConfig = VALUE_670M
    views = {view: YAM_EMBODIMENT.views[view] for view in model.views}
    embodiment = YAM_EMBODIMENT.model_copy(update={"views": views})
    return ValueConfig(model=model, embodiment=embodiment)


def _tiny_training(num_steps: int, peak_lr: float, seed: int, **changes: object) -> TrainConfig:
    optimizer = OptimizerConfig(
        peak_lr=peak_lr,
        end_lr=peak_lr / 50,
        warmup_steps=min(50, num_steps // 10),
        decay_steps=num_steps,
        weight_decay=1e-4,
    )
    config = TrainConfig(num_steps=num_steps, batch_size=128, seed=seed, optimizer=optimizer)
    return config.model_copy(update=changes)


def train_policy_config(preset: SizePreset) -> TrainPolicyConfig:
    """One training of the policy of a size preset, as its project has it."""
    train = _tiny_training(1500, 3.5e-3, 0) if preset == "tiny" else _full_training(preset, 0)
    return TrainPolicyConfig(policy=policy_config(preset), train=train)


def train_value_config(preset: SizePreset, seed: int = 0) -> TrainValueConfig:
    """One training of the value model of a size preset.

    At full size as in the reference (SPEC §8.4): encoders frozen, so they need a start; warm-up
    over a tenth of the steps, then a cosine to the last one; the best of the validation episodes.
    """
    if preset == "tiny":
        return TrainValueConfig(value=value_config(preset), train=_tiny_training(400, 1e-3, seed))
    num_steps, batch_size = (5000, 32) if preset == "single_gpu" else (30_000, 64)
    optimizer = OptimizerConfig(warmup_steps=min(1000, num_steps // 10), decay_steps=num_steps)
    return TrainValueConfig(
        value=value_config(preset),
        train=TrainConfig(
            num_steps=num_steps,
            batch_size=batch_size,
            seed=seed,
            optimizer=optimizer,
            augment=AugmentConfig(),
        ),
        freeze="all_backbones",
        validation=ValidationConfig(interval=250, patience=5, max_frames=4096),
    )


def tiny_project(seed: int = 0, *, cameras: bool = True) -> ProjectConfig:
    """The demo: gym-aloha's cube transfer on a CPU (SIM.md §3.2 and §6a).

    Args:
        seed: Of demonstrations, rollouts and training; the evaluation's seeds are fixed.
        cameras: Whether recordings carry camera videos; the models work from state alone.
    """
    robot = SimRobotConfig() if cameras else SimRobotConfig(cameras=())
    collect = CollectConfig(robot=robot, seed=seed)
    policy = policy_config("tiny")
    half_expert = SamplingConfig(expert_fraction=0.5)
    finetune = TrainPolicyConfig(
        policy=policy, train=_tiny_training(1500, 3.5e-3, seed, sampling=half_expert)
    )
    limit = collect.max_episode_frames
    return ProjectConfig(
        bootstrap=BootstrapConfig(
            demonstrations=collect.model_copy(update={"mode": "demonstration", "num_episodes": 6}),
            norm_stats=NormStatsConfig(
                embodiment=SIM_EMBODIMENT, action_horizon=policy.model.action_horizon
            ),
            sft=TrainPolicyConfig(
                policy=policy, train=_tiny_training(1500, 5e-3, seed), condition="positive"
            ),
        ),
        iteration=IterationConfig(
            collect=collect.model_copy(update={"round_index": 1}),
            value=train_value_config("tiny", seed).model_copy(
                update={"targets": TargetConfig(rule="fixed_limit", limit_frames=limit)}
            ),
            label=sim_demo_labels(limit),
            finetune=finetune,
            stage3=finetune,
            control=finetune.model_copy(
                update={
                    "train": _tiny_training(
                        1500, 3.5e-3, seed, sampling=SamplingConfig(frames="demonstrations")
                    ),
                    "condition": "positive",
                }
            ),
        ),
        runtime=Runtime(
            collect=CollectRuntime(isolation="inline", num_robots=30),
            train=TrainRuntime(isolation="inline", log_interval=25, save_interval=250),
            infer=InferRuntime(isolation="inline"),
        ),
    )


def full_size_project(preset: FullSizePreset, seed: int = 0) -> ProjectConfig:
    """The simulated robot with models of full size that look through three cameras.

    The same stages as the demo, on an accelerator: pi0.5 from its base checkpoint (with LoRA on
    ``single_gpu``), and the 670 M value model. A chunk of 10 actions is one second.

    Args:
        preset: ``single_gpu`` (24 GB, LoRA) or ``paper`` (all weights).
        seed: Of demonstrations, rollouts and training.
    """
    robot = SimRobotConfig(image_px=224)
    collect = CollectConfig(robot=robot, seed=seed, execute_frames=5)
    evaluation = EvaluationConfig(num_episodes=50, robot=robot, execute_frames=5)
    policy = _at_ten_hertz(_on_the_simulator(policy_config(preset)))
    train = _full_training(preset, seed)
    finetune = TrainPolicyConfig(policy=policy, train=train)
    value = train_value_config(preset, seed)
    return ProjectConfig(
        project=preset.replace("_", "-"),
        bootstrap=BootstrapConfig(
            demonstrations=collect.model_copy(update={"mode": "demonstration", "num_episodes": 50}),
            norm_stats=NormStatsConfig(
                embodiment=policy.embodiment, action_horizon=policy.model.action_horizon
            ),
            start=PRETRAINED_POLICY,
            sft=finetune.model_copy(update={"condition": "positive", "new_norm_stats": True}),
            evaluation=evaluation,
        ),
        iteration=IterationConfig(
            collect=collect.model_copy(update={"round_index": 1, "num_episodes": 100}),
            value=value.model_copy(
                update={
                    "value": _on_the_simulator(value.value),
                    "targets": TargetConfig(
                        rule="fixed_limit", limit_frames=collect.max_episode_frames
                    ),
                }
            ),
            value_start=PRETRAINED_VALUE,
            infer=InferValuesConfig(frames="rollouts"),
            label=sim_demo_labels(collect.max_episode_frames),
            finetune=finetune,
            stage3=finetune,
            evaluation=evaluation,
        ),
        runtime=Runtime(collect=CollectRuntime(num_robots=10)),
    )


def _on_the_simulator[C: (PolicyConfig, ValueConfig)](config: C) -> C:
    """Two simulated arms have YAM's layout; only their norm stats are their own."""
    embodiment = config.embodiment.model_copy(update={"asset_id": SIM_EMBODIMENT.asset_id})
    return config.model_copy(update={"embodiment": embodiment})


def _at_ten_hertz(config: PolicyConfig) -> PolicyConfig:
    model = config.model.model_copy(update={"action_horizon": 10})
    return config.model_copy(update={"model": model})


def _full_training(preset: FullSizePreset, seed: int) -> TrainConfig:
    """The reference's 5,000 steps under openpi's schedule (SPEC §5.4, §7)."""
    is_lora = preset == "single_gpu"
    return TrainConfig(
        num_steps=5000,
        batch_size=4 if is_lora else 64,
        seed=seed,
        ema_decay=None if is_lora else 0.99,
        augment=AugmentConfig(),
    )


def plumbing_project(seed: int = 0, *, cameras: bool = True) -> ProjectConfig:
    """The demo's every step in about a minute; its success rates mean nothing (for CI)."""
    project = tiny_project(seed, cameras=cameras)

    def short(config: TrainPolicyConfig) -> TrainPolicyConfig:
        optimizer = config.train.optimizer.model_copy(update={"decay_steps": 40, "warmup_steps": 4})
        train = config.train.model_copy(update={"num_steps": 40, "optimizer": optimizer})
        return config.model_copy(update={"train": train})

    evaluation = EvaluationConfig(num_episodes=8)
    bootstrap, iteration = project.bootstrap, project.iteration
    demonstrations = bootstrap.demonstrations.model_copy(update={"num_episodes": 4})
    # So few episodes prove nothing about a value model; the bars only let the labels through.
    health = HealthConfig(
        min_spearman=-1, min_separation=-1, max_bin_share=1, held_out_share=0.4, num_bootstrap=100
    )
    value_train = _tiny_training(60, 1e-3, seed)
    assert iteration.control is not None  # noqa: S101 - tiny_project sets it
    return project.model_copy(
        update={
            "project": "plumbing",
            "bootstrap": bootstrap.model_copy(
                update={
                    "demonstrations": demonstrations,
                    "sft": short(bootstrap.sft),
                    "evaluation": evaluation,
                }
            ),
            "iteration": iteration.model_copy(
                update={
                    "collect": iteration.collect.model_copy(update={"num_episodes": 6}),
                    "value": iteration.value.model_copy(
                        update={"train": value_train, "health": health}
                    ),
                    "finetune": short(iteration.finetune),
                    "stage3": short(iteration.stage3),
                    "control": short(iteration.control),
                    "evaluation": evaluation,
                    "gate": EXACTLY_AS_SUCCESSFUL,  # so few episodes can show nothing more
                }
            ),
        }
    )
