"""The categorical value distribution: 201 bins on [-1, 0], and two-hot targets between them."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import numpy as np
from jaxtyping import Float


def support(num_bins: int = 201) -> Float[np.ndarray, " bins"]:
    """Value of every bin: ``num_bins`` evenly spaced points from -1 to 0, float64.

    Raises:
        ValueError: If there are fewer than two bins.
    """
    if num_bins < 2:
        raise ValueError(f"a value distribution needs at least 2 bins, got {num_bins}")
    return np.linspace(-1.0, 0.0, num_bins)


def two_hot(values: Float[np.ndarray, "..."], num_bins: int = 201) -> Float[np.ndarray, "... bins"]:
    """Spread every value over its two neighbouring bins so that the mean is the value.

        x = (y + 1) / delta,  l = min(floor(x), bins - 2),  w[l + 1] = x - l,  w[l] = 1 - (x - l)

    Args:
        values: Targets; clipped to [-1, 0].
        num_bins: Bins of the support.

    Returns:
        Probabilities, float32, one row of ``num_bins`` per value; each row sums to 1.

    Raises:
        ValueError: If a value is not a number, or there are fewer than two bins.
    """
    if num_bins < 2:
        raise ValueError(f"a value distribution needs at least 2 bins, got {num_bins}")
    if not np.isfinite(values).all():
        raise ValueError("two-hot targets must be finite; at least one value is NaN or infinite")
    # Rounding to 1e-9 bins: -0.5 is bin 100 exactly, although 0.5 / 0.005 is not exactly 100.
    position = np.round((np.clip(values.astype(np.float64), -1, 0) + 1) * (num_bins - 1), 9)
    lower = np.clip(np.floor(position), 0, num_bins - 2).astype(np.int64)
    upper_weight = position - lower
    probabilities = np.zeros((*values.shape, num_bins), dtype=np.float32)
    np.put_along_axis(probabilities, lower[..., None], (1 - upper_weight)[..., None], axis=-1)
    np.put_along_axis(probabilities, lower[..., None] + 1, upper_weight[..., None], axis=-1)
    return probabilities


def hard_bins(
    values: Float[np.ndarray, "..."], num_bins: int = 201
) -> Float[np.ndarray, "... bins"]:
    """All of the probability in the bin at or below the value (SPEC §15).

        bin = clip(floor((y + 1) * (bins - 1)), 0, bins - 1)

    Args:
        values: Targets; clipped to [-1, 0].
        num_bins: Bins of the support.

    Returns:
        Probabilities, float32, one row of ``num_bins`` per value: a one and zeros.

    Raises:
        ValueError: If a value is not a number, or there are fewer than two bins.
    """
    bins = (two_hot(values, num_bins) > 0).argmax(axis=-1)  # the first of the two
    return np.eye(num_bins, dtype=np.float32)[bins]


def expectation(probabilities: Float[np.ndarray, "... bins"]) -> Float[np.ndarray, "..."]:
    """Mean of every distribution over the support, in [-1, 0]."""
    return np.asarray(probabilities @ support(probabilities.shape[-1]))
