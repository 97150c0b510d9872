"""A policy checkpoint in this process: observations in, action chunks out."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from recap_core.arrays import ActionChunk
from recap_core.checkpoints.params import load_params
from recap_core.checkpoints.policy_checkpoint import (
    PARAMS,
    PolicyFiles,
    read_norm_stats,
    read_policy,
)
from recap_core.config.policy import PolicyConfig
from recap_core.errors import DataError
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, PolicyInputs
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.transforms.policy_transform import PolicyTransform

DEFAULT_CONDITION = "positive"
"""Advantage class that is asked for where an observation names none."""


class RequestDefaults(NamedTuple):
    """What an observation is taken to say where it says nothing."""

    prompt: str | None = None
    """Task text; None: the embodiment's default prompt, if it has one."""
    adv_ind: str | None = DEFAULT_CONDITION
    """Advantage class; None leaves the clause out of the prompt."""


class Sampled(NamedTuple):
    """Action chunks, and how long the model took."""

    chunks: Sequence[ActionChunk]
    model_s: float
    """Seconds from inputs in host memory to actions in host memory."""


class LoadedPolicy:
    """A policy with its parameters on the default device; a ``PolicyClient``.

    An observation maps dataset features to arrays, and has ``prompt`` unless there is a default
    one. ``episode_seed`` and ``frame_index`` (int) seed its noise; without them, every call draws
    anew. ``adv_ind`` replaces the default condition.

    Batches are padded to one fixed size, so that one program serves them all and an observation's
    actions do not depend on who else is in its batch.
    """

    def __init__(  # noqa: PLR0913 - all but the first three by name
        self,
        files: PolicyFiles,
        params: Params,
        transform: PolicyTransform,
        *,
        batch_size: int,
        guidance: float,
        defaults: RequestDefaults = RequestDefaults(),
    ) -> None:
        self.config = files.config
        self.defaults = defaults
        self.guidance = guidance if files.config.prompt.advantage else 1.0
        self.state_dim, self.action_dim = _robot_dims(files)
        self._params = params
        self._transform = transform
        self._batch_size = batch_size
        self._is_guided = self.guidance != 1
        self._num_unseeded = 0
        policy = Policy(files.config.model)
        sample = partial(
            policy.sample_actions,
            num_steps=files.config.num_denoise_steps,
            guidance=self.guidance,
        )

        @jax.jit
        def sample_actions(
            params: Params,
            noise: Float[Array, "b h a"],
            inputs: PolicyInputs,
            unconditional: PolicyInputs | None,
        ) -> Float[Array, "b h a"]:
            # The key is never used: noise is given.
            return sample(
                params, jax.random.key(0), inputs, noise=noise, unconditional=unconditional
            )

        self._sample = sample_actions

    @classmethod
    def load(  # noqa: PLR0913 - all but the first by name
        cls,
        directory: Path,
        *,
        config: PolicyConfig | None = None,
        batch_size: int = 32,
        guidance: float | None = None,
        num_steps: int | None = None,
        defaults: RequestDefaults = RequestDefaults(),
        weights_dir: Path | None = None,
    ) -> "LoadedPolicy":
        """Load a policy checkpoint.

        Args:
            directory: What :func:`~recap_core.checkpoints.policy_checkpoint.write_policy` filled,
                or, with ``config``, any directory with ``params/`` and ``assets/``, such as a step
                directory of openpi.
            config: The policy; None: the ``policy.json`` of the directory.
            batch_size: Observations per device call; 1 for one robot with a large model.
            guidance: Classifier-free guidance beta; None: the configured one.
            num_steps: Denoising steps; None: the configured number.
            defaults: What observations need not say.
            weights_dir: Directory of published tokenizers.

        Raises:
            CheckpointError: If the checkpoint is incomplete or does not fit its configuration.
            ConfigError: If the tokenizer is not found.
        """
        files = _policy_files(directory, config, num_steps)
        model = files.config.model
        # openpi serves bfloat16 parameters; a float32 model keeps its precision.
        dtype = jnp.bfloat16 if model.compute_dtype == "bfloat16" else None
        like = jax.eval_shape(Policy(model).init, jax.random.key(0))
        params = load_params(files.params, like, dtype=dtype)
        tokenizer = PromptTokenizer(
            files.config.prompt, model.max_token_len, model.state_input, weights_dir=weights_dir
        )
        transform = PolicyTransform.for_policy(files.config, files.norm_stats, tokenizer)
        return cls(
            files,
            jax.device_put(params),
            transform,
            batch_size=batch_size,
            guidance=files.config.guidance if guidance is None else guidance,
            defaults=defaults,
        )

    def infer(
        self,
        observations: Sequence[Mapping[str, Any]],
        *,
        noise: Float[np.ndarray, "n h d"] | None = None,
    ) -> Sequence[ActionChunk]:
        """One chunk of ``(action_horizon, action dims)`` per observation, in the robot's units.

        Args:
            observations: As the class says.
            noise: What sampling starts from, in the model's action width, one per observation;
                None: drawn.

        Raises:
            DataError: If an observation lacks a feature or a prompt, or the noise another shape.
        """
        return self.sample(observations, noise=noise).chunks

    def sample(
        self,
        observations: Sequence[Mapping[str, Any]],
        *,
        noise: Float[np.ndarray, "n h d"] | None = None,
    ) -> Sampled:
        """As :meth:`infer`, with the time that the model itself took."""
        model = self.config.model
        shape = (len(observations), model.action_horizon, model.action_dim)
        if noise is not None and noise.shape != shape:
            raise DataError(f"noise has shape {noise.shape}; {shape} is needed.")
        chunks: list[ActionChunk] = []
        model_s = 0.0
        for start in range(0, len(observations), self._batch_size):
            rows = slice(start, start + self._batch_size)
            part = observations[rows]
            drawn = np.stack([self._noise(each) for each in part]) if noise is None else noise[rows]
            batch = self._sample_batch(part, drawn.astype(np.float32, copy=False))
            chunks.extend(batch.chunks)
            model_s += batch.model_s
        return Sampled(chunks, model_s)

    def warm_up(self) -> float:
        """Compile the one program that answers every request; returns the seconds it took."""
        started = time.perf_counter()
        model, b = self.config.model, self._batch_size
        shape = (b, model.image_px, model.image_px, 3)
        arrays: tuple[Any, ...] = (
            {view: np.zeros(shape, np.float32) for view in model.views},
            {view: np.zeros(b, bool) for view in model.views},
            np.zeros((b, model.state_dim or model.action_dim), np.float32),
            np.ones((b, model.max_token_len), np.int32),
            np.ones((b, model.max_token_len), bool),
        )
        inputs = PolicyInputs(*arrays)
        noise = np.zeros((b, model.action_horizon, model.action_dim), np.float32)
        # Twice: the first call of a program costs more than its compilation.
        for _ in range(2):
            unconditional = inputs if self._is_guided else None
            jax.block_until_ready(self._sample(self._params, noise, inputs, unconditional))
        return time.perf_counter() - started

    def reset(self) -> None:
        """Nothing is remembered from one observation to the next."""

    def _sample_batch(
        self, observations: Sequence[Mapping[str, Any]], noise: Float[np.ndarray, "b h d"]
    ) -> Sampled:
        features = self._stacked(observations)
        prompts = [self._prompt(observation) for observation in observations]
        conditions = [
            observation.get("adv_ind", self.defaults.adv_ind) for observation in observations
        ]
        inputs = self._transform.inputs(features, prompts, conditions)
        unconditional = None
        if self._is_guided:
            nothing = [None] * len(observations)
            unconditional = self._padded(self._transform.inputs(features, prompts, nothing))
        noise, inputs = self._padded(noise), self._padded(inputs)
        started = time.perf_counter()
        actions = np.asarray(self._sample(self._params, noise, inputs, unconditional))
        model_s = time.perf_counter() - started
        own = actions[: len(observations)]
        return Sampled(list(self._transform.outputs(own, self._transform.state(features))), model_s)

    def _stacked(self, observations: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The features that the model reads, over the batch."""
        embodiment = self.config.embodiment
        cameras = [
            embodiment.views[view] for view in self.config.model.views if view in embodiment.views
        ]
        features = [*embodiment.state, *cameras]
        for observation in observations:
            missing = [f for f in features if (f in observation) != (f in observations[0])]
            if missing:
                raise DataError(
                    f"observations of one batch must have the same features; {missing} are in "
                    "some only. Send every camera of the robot, or none of it."
                )
        return {
            feature: np.stack([np.asarray(observation[feature]) for observation in observations])
            for feature in features
            if feature in observations[0]
        }

    def _prompt(self, observation: Mapping[str, Any]) -> str:
        prompt = observation.get("prompt")
        if prompt is None:
            prompt = self.defaults.prompt
        if prompt is None:
            prompt = self.config.embodiment.default_prompt
        if prompt is None:
            raise DataError(
                "the observation has no 'prompt' and the policy no default one. Send the task "
                "text, set embodiment.default_prompt, or serve with --default-prompt."
            )
        return str(prompt)

    def _noise(self, observation: Mapping[str, Any]) -> Float[np.ndarray, "h a"]:
        """Standard normal noise that depends on the observation's seed and frame alone."""
        if "episode_seed" in observation:
            key = (int(observation["episode_seed"]), int(observation["frame_index"]))
        else:
            # No episode seed has the top bit set.
            key = (1 << 63, self._num_unseeded)
            self._num_unseeded += 1
        rng = np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))
        shape = (self.config.model.action_horizon, self.config.model.action_dim)
        return rng.standard_normal(shape, dtype=np.float32)

    def _padded[Batch](self, batch: Batch) -> Batch:
        """``batch`` with its last sample repeated up to the fixed size."""

        def pad(array: np.ndarray) -> np.ndarray:
            rest = self._batch_size - len(array)
            return np.concatenate([array, np.repeat(array[-1:], rest, axis=0)]) if rest else array

        return jax.tree.map(pad, batch)


def _policy_files(
    directory: Path, config: PolicyConfig | None, num_steps: int | None
) -> PolicyFiles:
    if config is None:
        files = read_policy(directory)
    else:
        norm_stats = read_norm_stats(directory, config.embodiment.asset_id)
        files = PolicyFiles(config, norm_stats, directory / PARAMS)
    if num_steps is None:
        return files
    changed = {**files.config.model_dump(), "num_denoise_steps": num_steps}
    return files._replace(config=PolicyConfig.model_validate(changed))


def _robot_dims(files: PolicyFiles) -> tuple[int, int]:
    """Width of the robot's state and of its action."""
    embodiment, stats = files.config.embodiment, files.norm_stats
    return (
        embodiment.state_dim or len(stats.feature("state").mean),
        embodiment.action_dim or len(stats.feature("actions").mean),
    )
