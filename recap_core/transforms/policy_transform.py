"""Observations to policy inputs, actions to training targets, and model actions back.

    state     raw -> adapt -> normalise -> clip -> (bins in the prompt) -> pad
    actions   raw -> adapt -> minus state where relative -> normalise -> pad
    outputs   cut to the robot's dims -> unnormalise -> plus state where relative -> adapt back

"Adapt" converts a standard Aloha's joints and grippers, where ``embodiment.adapt_to_pi`` says so.
The numeric path handles the whole batch at once; the only loop over samples is the token lookup.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from recap_core.config.embodiment import ADAPTED_DIMS
from recap_core.config.policy import PolicyConfig
from recap_core.data.aloha_space import actions_from_pi, actions_to_pi, state_to_pi
from recap_core.errors import ConfigError, DataError
from recap_core.models.policy import PolicyInputs
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.transforms.delta import delta_mask, to_absolute, to_delta
from recap_core.transforms.normalize import NormStats, make_normalizer, pad_dims
from recap_core.transforms.observation import ObservationReader


class PolicyTransform:
    """What stands between a robot and its policy, the same in training and serving.

    Args:
        config: The policy.
        norm_stats: Statistics of the robot's ``state`` and (relative) ``actions``.
        tokenizer: Made from ``config.prompt`` and ``config.model``.
        state_dim: Width of the robot's state: all features of ``embodiment.state`` together.
        action_dim: Width of the robot's action.

    Raises:
        ConfigError: If the model is too narrow for the robot, or the vocabulary for the tokenizer.
        IncompatibleError: If the norm stats are too narrow or lack what the normalisation needs.
    """

    def __init__(
        self,
        config: PolicyConfig,
        norm_stats: NormStats,
        tokenizer: PromptTokenizer,
        *,
        state_dim: int,
        action_dim: int,
    ) -> None:
        model, embodiment = config.model, config.embodiment
        self._config = config
        self._tokenizer = tokenizer
        self._state_dim = state_dim
        self._action_dim = action_dim
        self._model_state_dim = model.state_dim or model.action_dim
        self._delta_mask = delta_mask(embodiment.delta_mask)
        self._is_adapted = embodiment.adapt_to_pi
        _check_widths(config, tokenizer, self._delta_mask.size, (state_dim, action_dim))
        self._reader = ObservationReader(embodiment, model.views, image_px=model.image_px)
        self._state, self._actions = (
            make_normalizer(
                norm_stats.feature(feature),
                embodiment.normalization,
                num_dims=num_dims,
                std_floor=embodiment.std_floor,
                feature=feature,
            )
            for feature, num_dims in (("state", state_dim), ("actions", action_dim))
        )

    @classmethod
    def for_policy(
        cls, config: PolicyConfig, norm_stats: NormStats, tokenizer: PromptTokenizer
    ) -> "PolicyTransform":
        """The transform of a policy, as wide as its embodiment says, else as its norm stats.

        Raises:
            ConfigError: As the constructor.
            IncompatibleError: As the constructor, and if the norm stats lack a feature.
        """
        embodiment = config.embodiment
        return cls(
            config,
            norm_stats,
            tokenizer,
            state_dim=embodiment.state_dim or len(norm_stats.feature("state").mean),
            action_dim=embodiment.action_dim or len(norm_stats.feature("actions").mean),
        )

    def training_prompts(self, task_texts: Sequence[str]) -> Sequence[str]:
        """Prompts of training samples: the default prompt where there is one, else the task text.

        A served observation keeps the prompt that it brings, as in openpi.
        """
        prompt = self._config.embodiment.default_prompt
        return task_texts if prompt is None else [prompt] * len(task_texts)

    def state(self, observations: Mapping[str, np.ndarray]) -> Float[np.ndarray, "b s"]:
        """The robot's state in its own units, as :meth:`actions` and :meth:`outputs` take it.

        Raises:
            DataError: If a state feature is missing, or the state has another width.
        """
        state = self._reader.state(observations)
        if state.shape[1] != self._state_dim:
            raise DataError(
                f"the state {list(self._config.embodiment.state)} has {state.shape[1]} dims, "
                f"this policy was made for {self._state_dim}."
            )
        return state

    def inputs(
        self,
        observations: Mapping[str, np.ndarray],
        prompts: Sequence[str],
        adv_ind: Sequence[str | None] | None,
    ) -> PolicyInputs:
        """Policy inputs of a batch, as NumPy arrays.

        Args:
            observations: Feature name to array, batch first. Images are uint8 or float (0-1),
                channels first or last, of any size.
            prompts: Task text of every sample.
            adv_ind: Advantage class of every sample. None for one sample leaves the clause out of
                its prompt (dropout, guidance); None altogether is an error where the policy's
                prompt carries the clause.

        Raises:
            DataError: If a feature is missing or misshapen, or ``adv_ind`` is missing or unknown.
            ConfigError: If a prompt is so long that its advantage clause would be cut.
        """
        normalized = self._normalized_state(self.state(observations))
        num_samples = len(normalized)
        if adv_ind is None:
            if self._tokenizer.writes_advantage:
                raise DataError(
                    "adv_ind is required: this policy's prompt carries the advantage clause. "
                    "Send adv_ind ('positive' to ask for the best behaviour)."
                )
            adv_ind = [None] * num_samples
        if not len(prompts) == len(adv_ind) == num_samples:
            raise DataError(
                f"{num_samples} observations, {len(prompts)} prompts and {len(adv_ind)} adv_ind "
                "must be equally many."
            )
        images, image_masks = self._reader.images(observations, batch_size=num_samples)
        tokens, token_mask = self._tokenizer.encode_batch(prompts, normalized, adv_ind)
        state = pad_dims(normalized, self._model_state_dim)
        # Declared as JAX arrays; NumPy ones move to the device with the first jitted call.
        arrays: tuple[Any, ...] = (images, image_masks, state, tokens, token_mask)
        return PolicyInputs(*arrays)

    def actions(
        self, actions: Shaped[np.ndarray, "b h a"], state: Shaped[np.ndarray, "b s"]
    ) -> Float[np.ndarray, "b h d"]:
        """Training targets, float32, padded with zeros to the model's action width.

        Args:
            actions: The robot's actions, in its own units.
            state: The robot's state at the first action, in its own units.

        Raises:
            DataError: If the actions have another width than the robot's.
        """
        if actions.shape[-1] != self._action_dim:
            raise DataError(
                f"{self._config.embodiment.action!r} has {actions.shape[-1]} dims, this policy was "
                f"made for {self._action_dim}."
            )
        if self._is_adapted:
            actions = actions_to_pi(actions)
        relative = to_delta(actions, self._adapted_state(state), self._delta_mask)
        return pad_dims(self._actions.normalize(relative), self._config.model.action_dim)

    def outputs(
        self, model_actions: Shaped[np.ndarray, "b h d"], state: Shaped[np.ndarray, "b s"]
    ) -> Float[np.ndarray, "b h a"]:
        """The robot's actions of model outputs: the inverse of :meth:`actions`, float32."""
        own_dims = np.asarray(model_actions)[..., : self._action_dim]
        relative = self._actions.unnormalize(own_dims)
        absolute = to_absolute(relative, self._adapted_state(state), self._delta_mask)
        if self._is_adapted:
            absolute = actions_from_pi(absolute)
        return absolute.astype(np.float32)

    def _adapted_state(self, state: Shaped[np.ndarray, "b s"]) -> Shaped[np.ndarray, "b s"]:
        return state_to_pi(state) if self._is_adapted else state

    def _normalized_state(self, state: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "b s"]:
        normalized = self._state.normalize(self._adapted_state(state))
        clip = self._config.embodiment.state_clip
        return normalized if clip is None else np.clip(normalized, -clip, clip)


def _check_widths(
    config: PolicyConfig, tokenizer: PromptTokenizer, delta_dims: int, robot_dims: tuple[int, int]
) -> None:
    """Raise ConfigError unless the model can hold the robot's state, actions and tokens."""
    model, (state_dim, action_dim) = config.model, robot_dims
    if action_dim > model.action_dim:
        raise ConfigError(
            f"the robot's action has {action_dim} dims, model.action_dim is {model.action_dim}. "
            "Raise it."
        )
    model_state_dim = model.state_dim or model.action_dim
    if model.state_input == "continuous" and state_dim > model_state_dim:
        raise ConfigError(
            f"the robot's state has {state_dim} dims, the model takes {model_state_dim}. "
            "Raise model.state_dim."
        )
    if delta_dims > min(state_dim, action_dim):
        raise ConfigError(
            f"embodiment.delta_mask covers {delta_dims} dims, but the robot's state has "
            f"{state_dim} and its action {action_dim}. Shorten it."
        )
    if config.embodiment.adapt_to_pi and {state_dim, action_dim} != {ADAPTED_DIMS}:
        raise ConfigError(
            f"embodiment.adapt_to_pi converts {ADAPTED_DIMS} dims, but the robot's state has "
            f"{state_dim} and its action {action_dim}. Set it to false, or, if the norm stats are "
            "padded, set embodiment.state_dim and action_dim."
        )
    if tokenizer.vocab_size > model.vocab_size:
        raise ConfigError(
            f"tokenizer {config.prompt.tokenizer!r} has {tokenizer.vocab_size} pieces, "
            f"model.vocab_size is {model.vocab_size}. Use the tokenizer of this model."
        )
