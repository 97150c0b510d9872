"""Flow matching between noise (t = 1) and actions (t = 0).

x_t = t * noise + (1 - t) * actions        u = dx/dt = noise - actions
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from recap_core.models.parameters import normal

MIN_PERIOD, MAX_PERIOD = 4e-3, 4.0


class Draw(NamedTuple):
    """What training draws for a batch."""

    noise: Float[Array, "b h a"]
    """Standard normal."""
    time: Float[Array, " b"]


def draw(key: PRNGKeyArray, shape: tuple[int, ...]) -> Draw:
    """Noise and times for actions of ``shape`` [b, h, a], by openpi's recipe."""
    _, noise_key, time_key = jax.random.split(key, 3)  # openpi augments images with the first
    return Draw(normal(noise_key, shape), sample_times(time_key, shape[0]))


def sample_times(key: PRNGKeyArray, num_samples: int) -> Float[Array, " b"]:
    """Training times, Beta(1.5, 1) moved to [0.001, 1]: mostly noisy, never quite clean."""
    return jax.random.beta(key, 1.5, 1.0, (num_samples,)) * 0.999 + 0.001


def embed_time(time: Float[Array, " b"], width: int) -> Float[Array, "b width"]:
    """``width / 2`` sines, then as many cosines, with periods from 4e-3 to 4 in equal ratios."""
    fraction = jnp.linspace(0.0, 1.0, width // 2)
    period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD) ** fraction
    angle = time[:, None] * (1 / period * (2 * jnp.pi))[None, :]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1)


def noisy_actions(
    actions: Float[Array, "b h a"], noise: Float[Array, "b h a"], time: Float[Array, " b"]
) -> Float[Array, "b h a"]:
    """``x_t`` of each sample at its own time."""
    t = time[:, None, None]
    return t * noise + (1 - t) * actions


def integrate(
    velocity: Callable[[Float[Array, "b h a"], Float[Array, " b"]], Float[Array, "b h a"]],
    noise: Float[Array, "b h a"],
    *,
    num_steps: int,
) -> Float[Array, "b h a"]:
    """Follow ``velocity(x, t)`` from noise at t = 1 to actions at t = 0 in equal Euler steps.

    Time is counted down in float32, as in openpi, rounding included: the fastest sine of
    :func:`embed_time` turns 1571 radians per unit of time.
    """
    step_size = -1.0 / num_steps

    def step(
        _: Array, carry: tuple[Float[Array, "b h a"], Float[Array, ""]]
    ) -> tuple[Float[Array, "b h a"], Float[Array, ""]]:
        x, t = carry
        return x + step_size * velocity(x, jnp.broadcast_to(t, x.shape[:1])), t + step_size

    x, _ = jax.lax.fori_loop(0, num_steps, step, (noise, jnp.float32(1)))
    return x
