"""Weights held in the type that they are multiplied in."""

import re
from typing import Any

import jax
from jax.typing import DTypeLike

from recap_core.models.parameters import Params

_USED_IN_FLOAT32 = re.compile(r"norm|^img/embedding/|pos_embedding|^value_head/", re.IGNORECASE)
"""Leaves of a value model that the model itself never casts."""


def with_weights_in(params: Params, dtype: DTypeLike) -> Params:
    """A value model's parameters, each weight that is multiplied in ``dtype`` cast to it once.

    The model casts the same weights anew at every call, so a CPU computes the same bits (tested),
    from half the memory; on a GPU XLA may fuse otherwise, which moves rounding. Norms, patches and
    the head are used in float32 and stay so.

    Args:
        params: Tree of a :class:`ValueModel`.
        dtype: Its compute dtype.
    """

    def cast(path: tuple[object, ...], leaf: Any) -> Any:  # noqa: ANN401 - NumPy or JAX
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return leaf if _USED_IN_FLOAT32.search(name) else leaf.astype(dtype)

    return jax.tree_util.tree_map_with_path(cast, params)
