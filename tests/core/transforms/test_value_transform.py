import numpy as np
import pytest

from recap_core.config.presets import YAM_EMBODIMENT, value_config
from recap_core.config.sizes import TINY_VALUE
from recap_core.config.value import ValueConfig
from recap_core.errors import ConfigError, DataError
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.transforms.normalize import FeatureStats, NormStats
from recap_core.transforms.value_transform import ValueTransform

DEMO = value_config("tiny")
SEEING = DEMO.model_copy(
    update={
        "model": TINY_VALUE.model_copy(
            update={
                "views": ("base_0_rgb", "left_wrist_0_rgb"),
                "image_px": 28,
                "state_input": "none",
            }
        ),
        "embodiment": YAM_EMBODIMENT,
    }
)
STATS = NormStats({"state": FeatureStats(np.full(21, 1.0), np.full(21, 2.0))})


def make(config: ValueConfig = DEMO, norm_stats: NormStats | None = STATS) -> ValueTransform:
    model = config.model
    tokenizer = PromptTokenizer(config.prompt, model.max_token_len, model.state_input)
    return ValueTransform(config, norm_stats, tokenizer)


def observations(num_samples: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "observation.state": rng.normal(size=(num_samples, 14)).astype(np.float32),
        "observation.environment_state": np.full((num_samples, 7), 99, np.float32),
    }


def test_a_continuous_state_is_normalised_and_clipped() -> None:
    """Mean 1 and std 2 by hand; 99 is beyond the demo's five standard deviations."""
    inputs = make().inputs(observations(), ["go", "go"])

    expected = (observations()["observation.state"] - 1) / 2
    np.testing.assert_allclose(inputs.state[:, :14], expected, atol=1e-5)
    np.testing.assert_array_equal(inputs.state[:, 14:], 5)


def test_a_state_in_the_text_is_the_normalised_one() -> None:
    """Mean 1 and std 2 by hand, in 256 bins; no number goes in beside the text."""
    model = DEMO.model.model_copy(update={"state_input": "tokens", "max_token_len": 200})
    tokenizer = PromptTokenizer(DEMO.prompt, 200, "tokens")
    normalized = np.clip((observations()["observation.state"] - 1) / 2, -1, 1)
    state = np.concatenate([normalized, np.ones((2, 7))], axis=1)

    inputs = make(DEMO.model_copy(update={"model": model})).inputs(observations(), ["go", "stop"])

    ids, mask = tokenizer.encode_value(["go", "stop"], state)
    np.testing.assert_array_equal(inputs.tokens, ids)
    np.testing.assert_array_equal(inputs.token_mask, mask)
    np.testing.assert_array_equal(inputs.state, np.zeros((2, 21)))


def test_a_tokenizer_of_another_state_input_is_refused() -> None:
    """Else a model trained on texts with a state would read texts without."""
    model = DEMO.model.model_copy(update={"state_input": "tokens", "max_token_len": 200})
    tokenizer = PromptTokenizer(DEMO.prompt, 200, "none")

    with pytest.raises(ConfigError, match="state_input is 'tokens'"):
        ValueTransform(DEMO.model_copy(update={"model": model}), STATS, tokenizer)


def test_the_text_ends_in_value() -> None:
    """Same ids as the tokenizer's own value prompt."""
    tokenizer = PromptTokenizer(DEMO.prompt, DEMO.model.max_token_len, "continuous")
    ids, mask = tokenizer.encode_value(["go", "transfer cube"])

    inputs = make().inputs(observations(), ["go", "transfer cube"])

    np.testing.assert_array_equal(inputs.tokens, ids)
    np.testing.assert_array_equal(inputs.token_mask, mask)


def test_a_model_that_sees_images_needs_neither_state_nor_stats() -> None:
    """Only what the model sees is read; the wrist that is not there is masked."""
    images = {"observation.images.head_camera": np.zeros((1, 3, 40, 20), np.uint8)}

    inputs = make(SEEING, None).inputs(images, ["go"])

    assert inputs.images["base_0_rgb"].shape == (1, 28, 28, 3)
    assert inputs.image_masks["base_0_rgb"].all()
    assert not inputs.image_masks["left_wrist_0_rgb"].any()
    np.testing.assert_array_equal(inputs.state, np.zeros((1, 21)))


def test_a_state_model_needs_norm_stats() -> None:
    """Forgotten stats are said at once, not learned on."""
    with pytest.raises(ConfigError, match="norm stats"):
        make(norm_stats=None)


def test_a_state_wider_than_the_model_is_refused() -> None:
    """The shape and the model's width are named."""
    wide = observations()
    wide["observation.environment_state"] = np.zeros((2, 8), np.float32)

    with pytest.raises(DataError, match=r"\(2, 22\).*model.state_dim = 21"):
        make().inputs(wide, ["go", "go"])


def test_a_tokenizer_larger_than_the_vocabulary_is_refused() -> None:
    """An id beyond the embedding would read a wrong row without an error."""
    small = DEMO.model.model_copy(update={"vocab_size": 100})

    with pytest.raises(ConfigError, match=r"model\.vocab_size is 100"):
        make(DEMO.model_copy(update={"model": small}))


def test_images_of_another_batch_size_are_refused() -> None:
    """Two prompts cannot share one image."""
    images = {"observation.images.head_camera": np.zeros((1, 28, 28, 3), np.uint8)}

    with pytest.raises(DataError, match="1 images for 2 samples"):
        make(SEEING, None).inputs(images, ["go", "go"])
