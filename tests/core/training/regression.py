"""A model small enough to work out on paper: a line through frames, for tests of the loop."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from recap_core.config.training import OptimizerConfig, TrainConfig
from recap_core.models.parameters import Params
from recap_core.training.step import Batch, Mean, Metrics

OPTIMIZER = OptimizerConfig(peak_lr=0.05, end_lr=0.01, warmup_steps=2, decay_steps=50)


def config(num_steps: int, **changes: object) -> TrainConfig:
    """``num_steps`` steps with a short schedule that does not depend on their number."""
    fields = {"num_steps": num_steps, "batch_size": 4, "optimizer": OPTIMIZER} | changes
    return TrainConfig.model_validate(fields)


def params() -> Params:
    """A line through the origin, and a leaf that has no influence."""
    return {"line": {"kernel": np.zeros((1, 1), np.float32), "bias": np.zeros(1, np.float32)}}


def loss(params: Params, key: PRNGKeyArray, batch: Batch) -> tuple[Float[Array, ""], Metrics]:
    """Mean squared error of ``y = 2 x + 1`` under a little noise from the key."""
    x = batch["x"]
    y = 2 * x + 1 + 0.01 * jax.random.normal(key, x.shape)
    error = x * params["line"]["kernel"][0, 0] + params["line"]["bias"][0] - y
    positive = x > 0
    return jnp.mean(error**2), {
        "loss_positive": Mean(
            jnp.sum(jnp.where(positive, error**2, 0.0)), jnp.sum(positive).astype(jnp.float32)
        )
    }


class LineBatches:
    """Four frames per step; from ``bad_step`` on, one of them is NaN."""

    def __init__(self, *, bad_step: int | None = None) -> None:
        self.asked: list[int] = []
        self._bad_step = bad_step

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """Frame number over ten, as a float."""
        self.asked.append(step)
        x = self.frames(step).astype(np.float32) / 10
        if step == self._bad_step:
            x[1] = np.nan
        return {"x": x}

    def frames(self, step: int) -> np.ndarray:
        """Drawn by the step."""
        return np.random.default_rng(step).integers(-10, 10, 4)

    def places(self, step: int) -> np.ndarray:
        """Ten frames to an episode."""
        return np.stack(np.divmod(self.frames(step) + 10, 10), axis=1)
