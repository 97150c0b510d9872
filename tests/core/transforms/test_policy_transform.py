import numpy as np
import pytest

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.policy import PolicyConfig, PromptConfig
from recap_core.config.presets import YAM_EMBODIMENT, policy_config
from recap_core.config.sizes import TINY_POLICY
from recap_core.errors import ConfigError, DataError, IncompatibleError
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.transforms.normalize import FeatureStats, NormStats
from recap_core.transforms.policy_transform import PolicyTransform

DEMO = policy_config("tiny")
CAMERAS = PolicyConfig(
    model=TINY_POLICY.model_copy(
        update={
            "views": ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"),
            "image_px": 28,
            "action_dim": 32,
            "state_dim": None,
            "state_input": "tokens",
            "max_token_len": 100,
        }
    ),
    embodiment=YAM_EMBODIMENT,
    prompt=PromptConfig(tokenizer="tiny"),
)
BASE, LEFT, RIGHT = YAM_EMBODIMENT.views.values()


def stats(num_dims: int, *, mean: float = 0.0, std: float = 1.0) -> FeatureStats:
    low, high = np.full(num_dims, mean - std), np.full(num_dims, mean + std)
    return FeatureStats(np.full(num_dims, mean), np.full(num_dims, std), low, high)


def make(
    config: PolicyConfig = DEMO,
    *,
    norm_stats: NormStats | None = None,
    state_dim: int = 21,
    action_dim: int = 14,
) -> PolicyTransform:
    model = config.model
    tokenizer = PromptTokenizer(config.prompt, model.max_token_len, model.state_input)
    norm_stats = norm_stats or NormStats({"state": stats(21), "actions": stats(14)})
    return PolicyTransform(
        config, norm_stats, tokenizer, state_dim=state_dim, action_dim=action_dim
    )


def demo_observations(num_samples: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "observation.state": rng.normal(size=(num_samples, 14)).astype(np.float32),
        "observation.environment_state": rng.normal(size=(num_samples, 7)).astype(np.float32),
    }


def camera_observations(*cameras: str) -> dict[str, np.ndarray]:
    images = {name: np.full((1, 28, 28, 3), 255, np.uint8) for name in cameras}
    return {"observation.state": np.zeros((1, 14), np.float32), **images}


def make_with_cameras() -> PolicyTransform:
    return make(CAMERAS, state_dim=14)


def test_the_state_is_its_features_side_by_side() -> None:
    """Joints then cube pose, normalised with their stats; the demo sees no images."""
    observations = demo_observations()
    norm_stats = NormStats({"state": stats(21, mean=1.0, std=2.0), "actions": stats(14)})

    inputs = make(norm_stats=norm_stats).inputs(observations, ["go", "go"], ["none", "none"])

    raw = np.concatenate(list(observations.values()), axis=1)
    np.testing.assert_allclose(inputs.state, (raw - 1) / 2, atol=1e-5)
    assert inputs.state.dtype == np.float32
    assert inputs.images == {}


def test_the_normalised_state_is_clipped_where_asked() -> None:
    """The demo clips at five standard deviations."""
    observations = {name: 100 * x for name, x in demo_observations().items()}

    inputs = make().inputs(observations, ["go", "go"], ["none", "none"])

    assert np.abs(inputs.state).max() == 5


def test_every_sample_has_its_own_class() -> None:
    """A batch may mix classes and dropped clauses."""
    tokenizer = PromptTokenizer(DEMO.prompt, DEMO.model.max_token_len, "continuous")

    inputs = make().inputs(demo_observations(3), ["go"] * 3, ["positive", None, "negative"])

    for row, adv_ind in zip(inputs.tokens, ["positive", None, "negative"], strict=True):
        np.testing.assert_array_equal(row, tokenizer.encode("go", None, adv_ind)[0])


def test_missing_classes_are_an_error_where_the_prompt_carries_them() -> None:
    """pi0.6 without ``adv_ind`` would silently act unconditioned."""
    with pytest.raises(DataError, match="adv_ind is required"):
        make().inputs(demo_observations(), ["go", "go"], None)


def test_missing_classes_are_fine_for_pi05() -> None:
    """A policy without clause needs no ``adv_ind``."""
    plain = DEMO.model_copy(update={"prompt": PromptConfig(tokenizer="tiny", advantage=False)})

    inputs = make(plain).inputs(demo_observations(), ["go", "go"], None)

    assert inputs.token_mask.any()


def test_the_default_prompt_is_for_training_and_for_observations_without_one() -> None:
    """As in openpi: it replaces the task text in training, and a client's own prompt is read."""
    embodiment = DEMO.embodiment.model_copy(update={"default_prompt": "transfer cube"})
    fixed = make(DEMO.model_copy(update={"embodiment": embodiment}))

    served = fixed.inputs(demo_observations(), ["go", "stop"], ["none", "none"])
    expected = make().inputs(demo_observations(), ["go", "stop"], ["none", "none"])

    assert fixed.training_prompts(["go", "stop"]) == ["transfer cube", "transfer cube"]
    assert make().training_prompts(["go", "stop"]) == ["go", "stop"]
    np.testing.assert_array_equal(served.tokens, expected.tokens)


def test_state_text_is_the_normalised_unpadded_state() -> None:
    """Fourteen bins of a zero state, which is 128 in the middle."""
    tokenizer = PromptTokenizer(CAMERAS.prompt, 100, "tokens")
    # Just above zero: the quantile's epsilon would push zero itself into bin 127.
    observations = camera_observations(BASE)
    observations["observation.state"] += 0.001

    inputs = make_with_cameras().inputs(observations, ["go"], ["positive"])

    expected, _ = tokenizer.encode("go", np.full(14, 0.001), "positive")
    np.testing.assert_array_equal(inputs.tokens[0], expected)
    assert inputs.state.shape == (1, 32)


def test_missing_wrists_are_black_and_masked() -> None:
    """A robot with a head camera alone can run a three-view policy."""
    inputs = make_with_cameras().inputs(camera_observations(BASE), ["go"], ["none"])

    assert [bool(mask[0]) for mask in inputs.image_masks.values()] == [True, False, False]
    assert list(inputs.images) == list(CAMERAS.model.views)
    assert (np.asarray(inputs.images["base_0_rgb"]) == 1).all()
    assert (np.asarray(inputs.images["left_wrist_0_rgb"]) == -1).all()


def test_a_missing_base_camera_is_named() -> None:
    """No policy runs without its base view."""
    with pytest.raises(DataError, match="head_camera"):
        make_with_cameras().inputs(camera_observations(LEFT), ["go"], ["none"])


def test_a_misspelled_camera_is_named() -> None:
    """A wrist that is absent while an unknown camera is there is no plain absence."""
    observations = camera_observations(BASE, LEFT, "observation.images.right_cam")

    with pytest.raises(DataError, match=r"right_wrist_camera.*right_cam"):
        make_with_cameras().inputs(observations, ["go"], ["none"])


def test_further_cameras_are_not_read() -> None:
    """Datasets may carry cameras that the policy does not see."""
    observations = camera_observations(BASE, LEFT, RIGHT, "observation.images.top")

    inputs = make_with_cameras().inputs(observations, ["go"], ["none"])

    assert len(inputs.images) == 3


def test_a_missing_state_feature_is_named() -> None:
    """The message names the feature and what there is instead."""
    with pytest.raises(DataError, match=r"environment_state.*observation.state"):
        make().inputs({"observation.state": np.zeros((1, 14), np.float32)}, ["go"], ["none"])


def test_a_state_of_another_width_is_refused() -> None:
    """Both widths are named."""
    observations = demo_observations()
    observations["observation.environment_state"] = np.zeros((2, 6), np.float32)

    with pytest.raises(DataError, match=r"20 dims.*21"):
        make().inputs(observations, ["go", "go"], ["none", "none"])


def test_as_many_prompts_as_observations() -> None:
    """Counts that differ are an error, not a broadcast."""
    with pytest.raises(DataError, match="2 observations, 1 prompts"):
        make().inputs(demo_observations(), ["go"], ["none", "none"])


def test_training_targets_by_hand() -> None:
    """Joint 1.0 at state 0.25 is 0.75 relative; gripper 0.5 stays; stats halve; rest is zero."""
    norm_stats = NormStats({"state": stats(14), "actions": stats(14, std=2.0)})
    transform = make(CAMERAS, norm_stats=norm_stats, state_dim=14)
    actions, state = np.zeros((1, 2, 14)), np.zeros((1, 14))
    actions[:, :, 0], actions[:, :, 6], state[:, 0] = 1.0, 0.5, 0.25

    targets = transform.actions(actions, state)

    assert targets.shape == (1, 2, 32)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets[0, :, 0], 0.375, atol=1e-5)
    np.testing.assert_allclose(targets[0, :, 6], 0.25, atol=1e-5)
    np.testing.assert_allclose(targets[0, :, 14:], 0)


@pytest.mark.parametrize("normalization", ["quantile", "z_score"])
def test_outputs_undo_actions(normalization: str) -> None:
    """What the model was trained on comes back as the robot's actions."""
    embodiment = CAMERAS.embodiment.model_copy(update={"normalization": normalization})
    transform = make(
        CAMERAS.model_copy(update={"embodiment": embodiment}),
        norm_stats=NormStats({"state": stats(14), "actions": stats(14, mean=0.3, std=0.7)}),
        state_dim=14,
    )
    rng = np.random.default_rng(0)
    actions, state = rng.normal(size=(3, 8, 14)), rng.normal(size=(3, 14))

    restored = transform.outputs(transform.actions(actions, state), state)

    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, actions, atol=1e-5)


def test_actions_of_another_width_are_refused() -> None:
    """The column and both widths are named."""
    with pytest.raises(DataError, match=r"'action' has 7 dims.*14"):
        make().actions(np.zeros((1, 8, 7)), np.zeros((1, 21)))


def test_released_stats_may_be_wider_than_the_robot() -> None:
    """Stats padded to 32 dims serve a robot with 14."""
    wide = NormStats({"state": stats(32), "actions": stats(32)})

    assert make(norm_stats=wide).outputs(np.ones((1, 8, 14)), np.zeros((1, 21))).shape == (1, 8, 14)


def for_policy(embodiment: EmbodimentConfig, norm_stats: NormStats) -> PolicyTransform:
    config = CAMERAS.model_copy(update={"embodiment": embodiment})
    tokenizer = PromptTokenizer(config.prompt, 100, "tokens")
    return PolicyTransform.for_policy(config, norm_stats, tokenizer)


def test_an_explicit_width_wins_over_padded_stats() -> None:
    """A YAM with stats padded to 32 dims has 14; its actions are those of unpadded stats."""
    padded = NormStats({"state": stats(32), "actions": stats(32, std=2.0)})
    plain = NormStats({"state": stats(14), "actions": stats(14, std=2.0)})
    rng = np.random.default_rng(0)
    outputs, state = rng.normal(size=(1, 8, 32)), rng.normal(size=(1, 14))

    actions = for_policy(YAM_EMBODIMENT, padded).outputs(outputs, state)

    assert actions.shape == (1, 8, 14)
    np.testing.assert_array_equal(
        actions, for_policy(YAM_EMBODIMENT, plain).outputs(outputs, state)
    )


def test_without_an_explicit_width_that_of_the_stats_counts() -> None:
    """A robot of seven joints says so by its stats alone."""
    seven = NormStats({"state": stats(9), "actions": stats(7)})
    robot = EmbodimentConfig(views=YAM_EMBODIMENT.views)

    transform = for_policy(robot, seven)

    assert transform.outputs(np.zeros((1, 8, 32)), np.zeros((1, 9))).shape == (1, 8, 7)
    with pytest.raises(DataError, match="14 dims, this policy was made for 9"):
        transform.inputs(camera_observations(BASE), ["go"], ["none"])


def test_only_two_arms_are_adapted() -> None:
    """Padded stats without a width would convert the wrong dims."""
    padded = NormStats({"state": stats(32), "actions": stats(32)})
    robot = EmbodimentConfig(adapt_to_pi=True, views=YAM_EMBODIMENT.views)

    with pytest.raises(ConfigError, match=r"converts 14 dims.*padded, set embodiment.state_dim"):
        for_policy(robot, padded)


def test_an_adapted_robot_gets_its_own_actions_back() -> None:
    """What a standard Aloha did is what the policy is trained to make it do."""
    robot = YAM_EMBODIMENT.model_copy(update={"adapt_to_pi": True})
    norm_stats = NormStats({"state": stats(14), "actions": stats(14, std=0.7)})
    transform = for_policy(robot, norm_stats)
    rng = np.random.default_rng(0)
    actions, state = rng.uniform(0, 1, (2, 8, 14)), rng.uniform(0, 1, (2, 14))

    targets = transform.actions(actions, state)

    np.testing.assert_allclose(transform.outputs(targets, state), actions, atol=1e-5)
    plain = for_policy(
        YAM_EMBODIMENT, NormStats({"state": stats(14), "actions": stats(14, std=0.7)})
    )
    assert np.abs(targets - plain.actions(actions, state)).max() > 0.1


def test_a_state_of_float64_keeps_its_digits() -> None:
    """Openpi's clients may send float64, and a bin's edge may lie between it and its float32."""
    value = 1 / 3
    norm_stats = NormStats({"state": stats(14), "actions": stats(14)})
    transform = for_policy(YAM_EMBODIMENT, norm_stats)

    state = transform.state({"observation.state": np.full((1, 14), value)})
    rounded = transform.state({"observation.state": np.full((1, 14), value, np.float32)})

    assert state[0, 0] == value
    assert (state.dtype, rounded.dtype) == (np.float64, np.float32)


def test_narrow_stats_are_refused() -> None:
    """Stats of another robot never reach training."""
    with pytest.raises(IncompatibleError, match="state have 14 dims"):
        make(norm_stats=NormStats({"state": stats(14), "actions": stats(14)}))


@pytest.mark.parametrize(
    ("changes", "widths", "message"),
    [
        ({}, {"action_dim": 15}, "action has 15 dims"),
        ({}, {"state_dim": 22}, "state has 22 dims"),
        ({"vocab_size": 100}, {}, "model.vocab_size is 100"),
        ({"views": ("base_0_rgb",)}, {}, "no camera for base_0_rgb"),
    ],
)
def test_a_model_too_small_for_the_robot_is_refused(
    changes: dict, widths: dict, message: str
) -> None:
    """What does not fit is said before anything runs."""
    config = DEMO.model_copy(update={"model": DEMO.model.model_copy(update=changes)})

    with pytest.raises(ConfigError, match=message):
        make(config, **widths)


def test_a_delta_mask_longer_than_the_robot_is_refused() -> None:
    """Relative dims that the robot does not have are a mistake in the config."""
    config = DEMO.model_copy(update={"embodiment": EmbodimentConfig(delta_mask=(15,))})

    with pytest.raises(ConfigError, match="delta_mask covers 15"):
        make(config)
