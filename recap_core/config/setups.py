"""The setups that the reference stack and openpi have (SPEC §4 and §7, OPENPI_CONTRACT §8)."""

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.embodiments import (
    ALOHA_EMBODIMENT,
    ALOHA_SIM_EMBODIMENT,
    DROID_EMBODIMENT,
    LIBERO_EMBODIMENT,
    YAM_EMBODIMENT,
)
from recap_core.config.policy import PolicyConfig, PolicyModelConfig, PromptConfig
from recap_core.config.policy_setup import PolicySetup, SetupStage, Start
from recap_core.config.sizes import PI0, PI0_LORA, PI05, PI05_LORA
from recap_core.config.stages import TrainPolicyConfig
from recap_core.config.training import AugmentConfig, OptimizerConfig, TrainConfig

YAM_TASK = "Use one arm to grasp the papercup and hand it over to the other arm"
"""Task text of the reference dataset."""

YAM_ROLLOUTS = "local/vial_rollout_v1_v21"
YAM_RELABELED = "local/vial_rollout_v1_v21_vlm_label"

_PUBLISHED = "gs://openpi-assets/checkpoints/"
_CONSTANT_5E5 = OptimizerConfig(
    peak_lr=5e-5, end_lr=5e-5, warmup_steps=10_000, decay_steps=1_000_000
)
_LIBERO = TrainConfig(
    batch_size=256, ema_decay=0.999, optimizer=_CONSTANT_5E5, augment=AugmentConfig()
)


def _sized(model: PolicyModelConfig, **changes: object) -> PolicyModelConfig:
    return model.model_copy(update=changes)


_PLAIN_PI05 = _sized(PI05, max_token_len=200)
"""Without the advantage clause, openpi's prompt is three tokens shorter."""


def _train(
    model: PolicyModelConfig, embodiment: EmbodimentConfig, train: TrainConfig
) -> TrainPolicyConfig:
    """A training without the advantage clause: z-scores for pi0, quantiles for pi0.5."""
    normalization = "z_score" if model.time_input == "concat" else "quantile"
    policy = PolicyConfig(
        model=model,
        embodiment=embodiment.model_copy(update={"normalization": normalization}),
        prompt=PromptConfig(advantage=False),
    )
    # The class is not written into the prompt; given, the dataset needs no column for it.
    return TrainPolicyConfig(policy=policy, train=train, condition="positive")


def _conditioned(
    model: PolicyModelConfig, embodiment: EmbodimentConfig, train: TrainConfig
) -> TrainPolicyConfig:
    """A pi0.6 training: the dataset's ``adv_ind`` in the prompt, the loss weighted by time."""
    weighted = train.model_copy(update={"loss_weight": "reference_time"})
    return TrainPolicyConfig(
        policy=PolicyConfig(model=model, embodiment=embodiment), train=weighted
    )


def _yam_train(*, batch_size: int, is_lora: bool) -> TrainConfig:
    return TrainConfig(
        num_steps=5000,
        batch_size=batch_size,
        ema_decay=None if is_lora else 0.99,
        augment=AugmentConfig(),
    )


_YAM = YAM_EMBODIMENT.model_copy(update={"default_prompt": YAM_TASK, "asset_id": "trossen"})


def _yam_rollouts(suffix: str, start: Start, dataset: str = YAM_ROLLOUTS) -> PolicySetup:
    """Fine-tuning on rollouts; LoRA where the name says so."""
    is_lora = "_lora" in suffix
    train = _yam_train(batch_size=4 if is_lora else 56, is_lora=is_lora)
    stage: SetupStage = "stage6" if dataset == YAM_RELABELED else "stage3"
    return PolicySetup(
        name=f"pi06_yam_vial_30fps{suffix}",
        stage=stage,
        train=_conditioned(PI05_LORA if is_lora else PI05, _YAM, train),
        start=start,
        dataset=dataset,
        norm_stats_of="pi05_base",
        num_workers=4 if is_lora else 8,
        project="pistar",
    )


def _yam_demonstrations(suffix: str) -> PolicySetup:
    """Stage 2: pi0.5 on demonstrations."""
    is_lora = bool(suffix)
    model = _sized(PI05_LORA, max_token_len=200) if is_lora else _PLAIN_PI05
    train = _yam_train(batch_size=4 if is_lora else 64, is_lora=is_lora)
    return PolicySetup(
        name=f"pi05_yam_vial_30fps{suffix}",
        stage="sft",
        train=_train(model, _YAM, train),
        start="pi05_base",
        norm_stats_of="pi05_base",
        num_workers=4 if is_lora else 8,
    )


REFERENCE_SETUPS: tuple[PolicySetup, ...] = (
    _yam_demonstrations(""),
    _yam_demonstrations("_lora"),
    _yam_rollouts("", "pi05_base"),
    _yam_rollouts("_lora", "pi05_base"),
    _yam_rollouts("_from_sft", "sft"),
    _yam_rollouts("_lora_from_sft", "sft"),
    _yam_rollouts("_from_sft_recap", "sft", YAM_RELABELED),
    _yam_rollouts("_lora_from_sft_recap", "sft", YAM_RELABELED),
    PolicySetup(
        name="pi05_star_libero",
        stage="stage6",
        train=_conditioned(
            _sized(PI05, action_horizon=10),
            LIBERO_EMBODIMENT.model_copy(update={"asset_id": "ybpy/libero_pistar"}),
            _LIBERO.model_copy(update={"num_steps": 20_000}),
        ),
        start="pi05_base",
        dataset="ybpy/libero_pistar",
        keep_period=10_000,
        project="pistar",
    ),
)
"""The ten configs of the reference (five and their twins), the pair that its documents use and its
registry lacks, the fine-tunings they start from, and pistar's own."""


def _served(
    name: str, model: PolicyModelConfig, embodiment: EmbodimentConfig, *, published: str
) -> PolicySetup:
    """A published policy; what training it had is not known."""
    return PolicySetup(
        name=name,
        stage="serve",
        train=_train(model, embodiment, TrainConfig(augment=AugmentConfig())),
        published=_PUBLISHED + published,
    )


def _served_aloha(
    name: str, model: PolicyModelConfig, *, published: str, prompt: str | None = None
) -> PolicySetup:
    robot = ALOHA_EMBODIMENT.model_copy(update={"default_prompt": prompt})
    setup = _served(name, model, robot, published=published)
    return setup.model_copy(update={"metadata": {"reset_pose": [0, -1.5, 1.5, 0, 0, 0]}})


def _finetuned(  # noqa: PLR0913 - what such a setup consists of, by name
    name: str,
    model: PolicyModelConfig,
    embodiment: EmbodimentConfig,
    *,
    train: TrainConfig,
    start: Start,
    dataset: str | None,
    norm_stats_of: Start | None = None,
    published: str | None = None,
) -> PolicySetup:
    return PolicySetup(
        name=name,
        stage="sft",
        train=_train(model, embodiment, train),
        start=start,
        dataset=dataset,
        norm_stats_of=norm_stats_of,
        published=None if published is None else _PUBLISHED + published,
    )


def _steps(num_steps: int, batch_size: int = 32) -> TrainConfig:
    return TrainConfig(num_steps=num_steps, batch_size=batch_size, augment=AugmentConfig())


_LIBERO_DATA = "physical-intelligence/libero"
_PEN_DATA = "physical-intelligence/aloha_pen_uncap_diverse"
_RELATIVE_LIBERO = LIBERO_EMBODIMENT.model_copy(update={"delta_mask": (6, -1)})
"""openpi's pi0 policies of LIBERO subtract the state from actions that are relative already."""
_PEN = ALOHA_EMBODIMENT.model_copy(update={"default_prompt": "uncap the pen"})
_CUBE = ALOHA_SIM_EMBODIMENT.model_copy(update={"default_prompt": "Transfer cube"})

OPENPI_SETUPS: tuple[PolicySetup, ...] = (
    _served_aloha("pi0_base", PI0, published="pi0_base"),
    _served_aloha("pi05_base", _PLAIN_PI05, published="pi05_base"),
    _served_aloha("pi0_aloha", PI0, published="pi0_base"),
    _served_aloha("pi05_aloha", _PLAIN_PI05, published="pi05_base"),
    _served_aloha("pi0_aloha_towel", PI0, published="pi0_aloha_towel", prompt="fold the towel"),
    _served_aloha(
        "pi0_aloha_tupperware",
        PI0,
        published="pi0_aloha_tupperware",
        prompt="open the tupperware and put the food on the plate",
    ),
    _served("pi0_droid", _sized(PI0, action_horizon=10), DROID_EMBODIMENT, published="pi0_droid"),
    _served(
        "pi05_droid",
        _sized(_PLAIN_PI05, action_horizon=15),
        DROID_EMBODIMENT,
        published="pi05_droid",
    ),
    _finetuned(
        "pi0_libero",
        PI0,
        _RELATIVE_LIBERO,
        train=_steps(30_000),
        start="pi0_base",
        dataset=_LIBERO_DATA,
    ),
    _finetuned(
        "pi0_libero_low_mem_finetune",
        PI0_LORA,
        _RELATIVE_LIBERO,
        train=_steps(30_000).model_copy(update={"ema_decay": None}),
        start="pi0_base",
        dataset=_LIBERO_DATA,
    ),
    _finetuned(
        "pi05_libero",
        # openpi leaves the state out of the prompt here, and pi0.5 has no other way to see it.
        _sized(_PLAIN_PI05, action_horizon=10, state_input="none"),
        LIBERO_EMBODIMENT,
        train=_LIBERO,
        start="pi05_base",
        dataset=_LIBERO_DATA,
        published="pi05_libero",
    ),
    _finetuned(
        "pi0_aloha_pen_uncap",
        PI0,
        _PEN,
        train=_steps(20_000),
        start="pi0_base",
        dataset=_PEN_DATA,
        norm_stats_of="pi0_base",
        published="pi0_aloha_pen_uncap",
    ),
    _finetuned(
        "pi05_aloha_pen_uncap",
        _PLAIN_PI05,
        _PEN,
        train=_steps(20_000, batch_size=64),
        start="pi05_base",
        dataset=_PEN_DATA,
        norm_stats_of="pi05_base",
    ),
    _finetuned(
        "pi05_droid_finetune",
        _sized(_PLAIN_PI05, action_horizon=16),
        DROID_EMBODIMENT,
        train=_steps(20_000),
        start="pi05_droid",
        dataset=None,
        norm_stats_of="pi05_droid",
    ),
    _finetuned(
        "pi0_aloha_sim",
        PI0,
        _CUBE,
        train=_steps(20_000),
        start="pi0_base",
        dataset="lerobot/aloha_sim_transfer_cube_human",
        published="pi0_aloha_sim",
    ),
)
"""openpi's own, but for pi0-FAST and what needs RLDS."""
