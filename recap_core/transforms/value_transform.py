"""Observations to value model inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recap_core.config.value import ValueConfig
from recap_core.data.aloha_space import state_to_pi
from recap_core.errors import ConfigError, DataError
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.models.value_model import ValueInputs
from recap_core.transforms.normalize import NormStats, make_normalizer, pad_dims
from recap_core.transforms.observation import ObservationReader


class ValueTransform:
    """What stands between a dataset and a value model, the same in training and labelling.

    Args:
        config: The value model.
        norm_stats: Statistics of the state; needed only where the model reads the state.
        tokenizer: Made from ``config.prompt`` and ``config.model``.

    Raises:
        ConfigError: If the model reads the state and there are no norm stats, or the vocabulary is
            too small for the tokenizer.
    """

    def __init__(
        self, config: ValueConfig, norm_stats: NormStats | None, tokenizer: PromptTokenizer
    ) -> None:
        model = config.model
        if model.reads_state and norm_stats is None:
            raise ConfigError(
                f"the value model reads the state (model.state_input is {model.state_input!r}) "
                "and needs norm stats. Pass those of its training dataset."
            )
        if tokenizer.writes_state != (model.state_input == "tokens"):
            raise ConfigError(
                f"model.state_input is {model.state_input!r}, but the tokenizer was made for "
                "another one. Make it from model.state_input."
            )
        if tokenizer.vocab_size > model.vocab_size:
            raise ConfigError(
                f"tokenizer {config.prompt.tokenizer!r} has {tokenizer.vocab_size} pieces, "
                f"model.vocab_size is {model.vocab_size}. Use the tokenizer of this model."
            )
        self._config = config
        self._norm_stats = norm_stats
        self._tokenizer = tokenizer
        self._reader = ObservationReader(config.embodiment, model.views, image_px=model.image_px)

    def inputs(
        self,
        observations: Mapping[str, np.ndarray],
        prompts: Sequence[str],
        *,
        as_uint8: bool = False,
    ) -> ValueInputs:
        """Value model inputs of a batch, as NumPy arrays.

        Args:
            observations: Feature name to array, batch first. Images are uint8 or float (0-1),
                channels first or last, of any size. Only features that the model sees are read.
            prompts: Task text of every sample; ``embodiment.default_prompt`` replaces them.
            as_uint8: Leave images 0-255; the device scales them.

        Raises:
            DataError: If a feature is missing or misshapen.
        """
        num_samples, model = len(prompts), self._config.model
        if self._config.embodiment.default_prompt is not None:
            prompts = [self._config.embodiment.default_prompt] * num_samples
        images, image_masks = self._reader.images(
            observations, batch_size=num_samples, as_uint8=as_uint8
        )
        state = self._state(observations, num_samples)
        tokens, token_mask = self._tokenizer.encode_value(prompts, state)
        if state is None or model.state_input == "tokens":
            state = np.zeros((num_samples, model.state_dim), np.float32)
        state = pad_dims(state, model.state_dim)
        # Declared as JAX arrays; NumPy ones move to the device with the first jitted call.
        arrays: tuple[Any, ...] = (images, image_masks, state, tokens, token_mask)
        return ValueInputs(*arrays)

    def without_images(self) -> "ValueTransform":
        """The same for a model without views: whoever has the images' tokens adds them."""
        model = self._config.model.model_copy(update={"views": ()})
        blind = self._config.model_copy(update={"model": model})
        return ValueTransform(blind, self._norm_stats, self._tokenizer)

    def _state(self, observations: Mapping[str, np.ndarray], num_samples: int) -> np.ndarray | None:
        """Normalised, clipped, unpadded state; None where the model does not read it."""
        model, embodiment = self._config.model, self._config.embodiment
        if not model.reads_state or self._norm_stats is None:
            return None
        # Trained on float32, whatever is stored; read the same way.
        state = self._reader.state(observations).astype(np.float32, copy=False)
        is_too_wide = model.state_input == "continuous" and state.shape[1] > model.state_dim
        if len(state) != num_samples or is_too_wide:
            raise DataError(
                f"the state {list(embodiment.state)} has shape {state.shape}; expected "
                f"{num_samples} samples (one per prompt) of at most model.state_dim = "
                f"{model.state_dim} dims."
            )
        normalizer = make_normalizer(
            self._norm_stats.feature("state"),
            embodiment.normalization,
            num_dims=state.shape[1],
            std_floor=embodiment.std_floor,
            feature="state",
        )
        normalized = normalizer.normalize(state_to_pi(state) if embodiment.adapt_to_pi else state)
        if embodiment.state_clip is not None:
            normalized = np.clip(normalized, -embodiment.state_clip, embodiment.state_clip)
        return normalized
