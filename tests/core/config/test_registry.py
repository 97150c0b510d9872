"""Setups by name, against the tables of the reference stack and openpi."""

from typing import NamedTuple

import pytest

from recap_core.config.embodiments import EMBODIMENTS
from recap_core.config.policy_setup import PolicySetup
from recap_core.config.registry import policy_setup, policy_setup_names
from recap_core.config.setups import YAM_TASK
from recap_core.config.sizes import GEMMA_2B, GEMMA_2B_LORA, GEMMA_300M, GEMMA_300M_LORA
from recap_core.config.training import OptimizerConfig
from recap_core.errors import ConfigError

ROLLOUTS, RELABELED = "local/vial_rollout_v1_v21", "local/vial_rollout_v1_v21_vlm_label"


class Row(NamedTuple):
    """A row of SPEC §7."""

    size: str
    start: str
    dataset: str
    batch_size: int
    num_workers: int
    ema_decay: float | None
    stage: str


REFERENCE = {
    "pi06_yam_vial_30fps": Row("full", "pi05_base", ROLLOUTS, 56, 8, 0.99, "stage3"),
    "pi06_yam_vial_30fps_lora": Row("lora", "pi05_base", ROLLOUTS, 4, 4, None, "stage3"),
    "pi06_yam_vial_30fps_lora_from_sft": Row("lora", "sft", ROLLOUTS, 4, 4, None, "stage3"),
    "pi06_yam_vial_30fps_lora_from_sft_recap": Row("lora", "sft", RELABELED, 4, 4, None, "stage6"),
    "pi06_yam_vial_30fps_from_sft_recap": Row("full", "sft", RELABELED, 56, 8, 0.99, "stage6"),
    # Used by the documents, not registered there (C8).
    "pi06_yam_vial_30fps_from_sft": Row("full", "sft", ROLLOUTS, 56, 8, 0.99, "stage3"),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_configs_are_those_of_the_specification(name: str) -> None:
    """Batch, workers, EMA, size, start and data of every row."""
    setup, row = policy_setup(name), REFERENCE[name]
    model = setup.train.policy.model

    assert model.vlm == (GEMMA_2B_LORA if row.size == "lora" else GEMMA_2B)
    assert model.expert == (GEMMA_300M_LORA if row.size == "lora" else GEMMA_300M)
    assert (setup.start, setup.dataset, setup.stage) == (row.start, row.dataset, row.stage)
    assert (setup.train.train.batch_size, setup.num_workers) == (row.batch_size, row.num_workers)
    assert setup.train.train.ema_decay == row.ema_decay


@pytest.mark.parametrize("name", REFERENCE)
def test_what_the_reference_configs_have_in_common(name: str) -> None:
    """pi0.6: clause with dropout, time-weighted loss, three cameras, no adaptation, 5,000 steps."""
    setup = policy_setup(name)
    policy, train = setup.train.policy, setup.train.train

    assert (policy.prompt.advantage, policy.prompt.advantage_dropout) == (True, 0.3)
    assert (policy.model.max_token_len, policy.model.action_horizon) == (203, 50)
    assert (policy.model.time_input, policy.model.state_input) == ("adarms", "tokens")
    assert (train.num_steps, train.seed, train.loss_weight) == (5000, 42, "reference_time")
    assert train.optimizer == OptimizerConfig()
    assert train.augment is not None
    robot = policy.embodiment
    assert (robot.adapt_to_pi, robot.delta_mask) == (False, (6, -1, 6, -1))
    assert (robot.normalization, robot.default_prompt) == ("quantile", YAM_TASK)
    assert list(robot.views.values()) == [
        f"observation.images.{place}_camera" for place in ("head", "left_wrist", "right_wrist")
    ]
    assert (setup.asset_id, setup.norm_stats_of, setup.project) == (
        "trossen",
        "pi05_base",
        "pistar",
    )
    assert setup.train.condition is None


@pytest.mark.parametrize("name", REFERENCE)
def test_the_twin_for_serving_is_the_same_setup(name: str) -> None:
    """Nothing differs: dropping the clause is a matter of training alone."""
    assert policy_setup(f"{name}_infer") == policy_setup(name)


@pytest.mark.parametrize(
    "name", ["pi06_yam_vial_30fps_lora_from_sft", "pi06_yam_vial_30fps_from_sft"]
)
def test_the_relabelled_training_differs_by_its_data_alone(name: str) -> None:
    """Stage 6 is stage 3 on another copy of the dataset."""
    own = {"name", "dataset", "stage"}

    stage3, stage6 = policy_setup(name), policy_setup(f"{name}_recap")

    assert stage6.model_dump(exclude=own) == stage3.model_dump(exclude=own)
    assert stage6.dataset == f"{stage3.dataset}_vlm_label"


def test_later_rounds_have_their_own_data() -> None:
    """``_recap_v3`` is ``_recap`` on the labels of the third round."""
    first = policy_setup("pi06_yam_vial_30fps_lora_from_sft_recap")

    third = policy_setup("pi06_yam_vial_30fps_lora_from_sft_recap_v3_infer")

    assert third.dataset == f"{RELABELED}_v3"
    assert third.name == f"{first.name}_v3"
    assert third.train == first.train


def test_sft_is_pi05_on_demonstrations() -> None:
    """SPEC §4: no clause, 200 tokens, batch 64, 5,000 steps from the base model."""
    setup = policy_setup("pi05_yam_vial_30fps")

    assert (setup.stage, setup.start, setup.model_name) == ("sft", "pi05_base", "pi0.5")
    assert (setup.train.train.batch_size, setup.train.train.num_steps) == (64, 5000)
    assert setup.train.train.loss_weight == "plain"
    assert setup.train.policy.model.max_token_len == 200
    assert (
        setup.train.policy.embodiment == policy_setup("pi06_yam_vial_30fps").train.policy.embodiment
    )


class Facts(NamedTuple):
    """What openpi's table says of a config."""

    max_token_len: int
    horizon: int
    state_input: str
    normalization: str
    delta_mask: tuple[int, ...]
    space: str
    prompt: str | None
    batch_size: int
    num_steps: int
    asset_id: str


LIBERO, PEN = "physical-intelligence/libero", "uncap the pen"
ARMS = (6, -1, 6, -1)
OPENPI = {
    "pi0_aloha": Facts(48, 50, "continuous", "z_score", ARMS, "pi", None, 32, 30_000, "trossen"),
    "pi05_aloha": Facts(200, 50, "tokens", "quantile", ARMS, "pi", None, 32, 30_000, "trossen"),
    "pi0_aloha_towel": Facts(
        48, 50, "continuous", "z_score", ARMS, "pi", "fold the towel", 32, 30_000, "trossen"
    ),
    "pi0_droid": Facts(48, 10, "continuous", "z_score", (), "own", None, 32, 30_000, "droid"),
    "pi05_droid": Facts(200, 15, "tokens", "quantile", (), "own", None, 32, 30_000, "droid"),
    "pi05_droid_finetune": Facts(
        200, 16, "tokens", "quantile", (), "own", None, 32, 20_000, "droid"
    ),
    "pi0_libero": Facts(48, 50, "continuous", "z_score", (6, -1), "own", None, 32, 30_000, LIBERO),
    "pi0_libero_low_mem_finetune": Facts(
        48, 50, "continuous", "z_score", (6, -1), "own", None, 32, 30_000, LIBERO
    ),
    "pi05_libero": Facts(200, 10, "none", "quantile", (), "own", None, 256, 30_000, LIBERO),
    "pi0_aloha_pen_uncap": Facts(
        48, 50, "continuous", "z_score", ARMS, "pi", PEN, 32, 20_000, "trossen"
    ),
    "pi05_aloha_pen_uncap": Facts(
        200, 50, "tokens", "quantile", ARMS, "pi", PEN, 64, 20_000, "trossen"
    ),
    "pi0_aloha_sim": Facts(
        48,
        50,
        "continuous",
        "z_score",
        (),
        "pi",
        "Transfer cube",
        32,
        20_000,
        "lerobot/aloha_sim_transfer_cube_human",
    ),
    "pi05_star_libero": Facts(
        203, 10, "tokens", "quantile", (), "own", None, 256, 20_000, "ybpy/libero_pistar"
    ),
}


@pytest.mark.parametrize("name", OPENPI)
def test_openpis_names_have_openpis_settings(name: str) -> None:
    """Prompt, state, normalisation, action space and length of training."""
    setup = policy_setup(name)
    policy, train = setup.train.policy, setup.train.train
    model, robot = policy.model, policy.embodiment

    assert OPENPI[name] == Facts(
        model.max_token_len,
        model.action_horizon,
        model.state_input,
        robot.normalization,
        robot.delta_mask,
        "pi" if robot.adapt_to_pi else "own",
        robot.default_prompt,
        train.batch_size,
        train.num_steps,
        setup.asset_id,
    )


@pytest.mark.parametrize(
    ("name", "num_steps", "keep_period"),
    [("pi05_libero", 30_000, 5000), ("pi05_star_libero", 20_000, 10_000)],
)
def test_libero_trains_at_a_constant_rate(name: str, num_steps: int, keep_period: int) -> None:
    """OPENPI_CONTRACT §8: warm-up 10k, peak and end 5e-5, decay 1M, EMA 0.999."""
    setup = policy_setup(name)
    optimizer = setup.train.train.optimizer

    assert (optimizer.warmup_steps, optimizer.decay_steps) == (10_000, 1_000_000)
    assert (optimizer.peak_lr, optimizer.end_lr) == (5e-5, 5e-5)
    assert setup.train.train.ema_decay == 0.999
    assert (setup.train.train.num_steps, setup.keep_period) == (num_steps, keep_period)


def test_openpis_defaults() -> None:
    """OPENPI_CONTRACT §8, where no config says otherwise."""
    setup = policy_setup("pi0_libero")
    train, optimizer = setup.train.train, setup.train.train.optimizer

    assert (train.seed, train.batch_size, train.num_steps, train.ema_decay) == (
        42,
        32,
        30_000,
        0.99,
    )
    assert (optimizer.warmup_steps, optimizer.peak_lr, optimizer.decay_steps, optimizer.end_lr) == (
        1000,
        2.5e-5,
        30_000,
        2.5e-6,
    )
    assert (optimizer.b1, optimizer.b2, optimizer.eps) == (0.9, 0.95, 1e-8)
    assert (optimizer.weight_decay, optimizer.clip_norm) == (1e-10, 1.0)
    assert (setup.runtime.log_interval, setup.runtime.save_interval) == (100, 1000)
    assert (setup.keep_period, setup.num_workers) == (5000, 2)


def test_parameters_replace_what_the_reference_hard_codes() -> None:
    """Repository, task text and asset id are the user's; everything else stays."""
    reference = policy_setup("pi06_yam_vial_30fps_lora")

    own = policy_setup(
        "pi06_yam_vial_30fps_lora", dataset="local/folding", task="fold", asset_id="local/folding"
    )

    robot = own.train.policy.embodiment
    assert (own.dataset, robot.default_prompt, own.asset_id) == (
        "local/folding",
        "fold",
        "local/folding",
    )
    assert own.train.train == reference.train.train
    assert own.train.policy.model == reference.train.policy.model


def test_another_robot_takes_the_place_of_the_references() -> None:
    """With its own columns and statistics; the dataset is then the user's to name."""
    robot = EMBODIMENTS["libero"]

    setup = policy_setup("pi06_yam_vial_30fps_lora", embodiment=robot, task="fold")

    assert setup.train.policy.embodiment == robot.model_copy(update={"default_prompt": "fold"})
    assert (setup.dataset, setup.norm_stats_of) == (None, None)
    assert setup.train.train == policy_setup("pi06_yam_vial_30fps_lora").train.train


def test_an_asset_id_leads_nowhere_else() -> None:
    """It becomes a directory."""
    with pytest.raises(ConfigError, match=r"asset_id '../elsewhere'.*directory"):
        policy_setup("pi05_libero", asset_id="../elsewhere")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pi06_yam_vail_30fps", "closest is 'pi06_yam_vial_30fps'.*recap configs list"),
        ("pi06_yam_vial_30fps_lora_recap_infer", "closest is 'pi06_yam_vial_30fps_lora"),
        ("pi0_libero_recap_v2", "closest is 'pi0_libero'"),
        ("pi06_yam", "closest is 'pi06_yam_vial_30fps'"),
        ("", "closest is"),
        ("pi0_fast_droid", "pi0-FAST"),
    ],
)
def test_an_unknown_name_brings_the_closest(name: str, message: str) -> None:
    """And says how to list them all."""
    with pytest.raises(ConfigError, match=message):
        policy_setup(name)


@pytest.mark.parametrize("name", policy_setup_names())
def test_every_setup_is_valid(name: str) -> None:
    """They are made by ``model_copy``, which does not validate; and each is called by its name."""
    setup = policy_setup(name)

    assert PolicySetup.model_validate_json(setup.model_dump_json()) == setup
    assert setup.name == name


@pytest.mark.parametrize("name", EMBODIMENTS)
def test_every_known_robot_is_valid(name: str) -> None:
    """Likewise."""
    robot = EMBODIMENTS[name]

    assert type(robot).model_validate_json(robot.model_dump_json()) == robot


def test_a_project_may_start_from_a_base_policy_with_statistics() -> None:
    """Its SFT computes its own, so the start's may differ; later trainings keep them."""
    sft = policy_setup("pi05_yam_vial_30fps").project_settings()["bootstrap"]["sft"]
    finetune = policy_setup("pi06_yam_vial_30fps_from_sft_recap").project_settings()["iteration"]

    assert sft["new_norm_stats"] is True
    assert finetune["finetune"]["new_norm_stats"] is False
