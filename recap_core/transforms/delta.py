"""Actions relative to the current state, and back (OPENPI_CONTRACT §6)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped


def delta_mask(run_lengths: Sequence[int]) -> Bool[np.ndarray, " m"]:
    """The run-length mask of openpi: ``n`` is n relative dims, ``-n`` is n absolute dims.

    (6, -1, 6, -1) makes the joints of two arms relative and keeps their grippers absolute.
    """
    runs = [np.full(abs(run), run > 0) for run in run_lengths]
    return np.concatenate([np.zeros(0, bool), *runs])


def to_delta(
    actions: Shaped[np.ndarray, "b h a"],
    state: Shaped[np.ndarray, "b s"],
    mask: Bool[np.ndarray, " m"],
) -> Float[np.ndarray, "b h a"]:
    """``actions`` with the current state subtracted where ``mask`` is set.

    Dims past the end of ``mask`` stay absolute. All ``h`` steps are relative to the same state.
    """
    return actions - _reference(actions, state, mask)


def to_absolute(
    actions: Shaped[np.ndarray, "b h a"],
    state: Shaped[np.ndarray, "b s"],
    mask: Bool[np.ndarray, " m"],
) -> Float[np.ndarray, "b h a"]:
    """The inverse of :func:`to_delta`, for the same state."""
    return actions + _reference(actions, state, mask)


def _reference(
    actions: Shaped[np.ndarray, "b h a"],
    state: Shaped[np.ndarray, "b s"],
    mask: Bool[np.ndarray, " m"],
) -> Float[np.ndarray, "b 1 a"]:
    """What the relative dims are relative to; zero for the others."""
    reference = np.zeros((len(actions), 1, actions.shape[-1]), np.result_type(actions, state))
    num_dims = len(mask)
    reference[:, 0, :num_dims] = np.where(mask, state[:, :num_dims], 0)
    return reference
