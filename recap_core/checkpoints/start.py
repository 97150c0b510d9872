"""The parameters that a training starts from: a checkpoint's, and fresh adapters where it has none.

openpi's rule: every leaf comes from the checkpoint, cast to the model's dtype; only LoRA leaves may
be missing there, and are made fresh.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from recap_core.checkpoints.architecture import explain_mismatch
from recap_core.checkpoints.locate import locate_checkpoint
from recap_core.checkpoints.params import Shardings, load_params, read_shapes
from recap_core.checkpoints.trees import Tree, compare_trees, flatten, unflatten
from recap_core.config.policy import PolicyModelConfig
from recap_core.errors import CheckpointError
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy

_log = logging.getLogger(__name__)

LORA_PATHS = re.compile(".*lora.*")
"""Leaves that a checkpoint need not have."""


def start_params(
    path: Path,
    model: PolicyModelConfig,
    key: PRNGKeyArray,
    *,
    like: Tree | None = None,
    sharding: Shardings | None = None,
) -> Params:
    """Parameters of ``model``, from the checkpoint in ``path``.

    Fresh adapters are those that ``Policy(model).init(key)`` makes; nothing else is initialised.

    The checkpoint may have more than the model in two places, which are left out with a warning:
    the vision encoder where the model sees no cameras, and ``state_proj`` where it reads no
    continuous state. These leaves feed inputs that the model does not have; all others change what
    it computes, so an extra one is an error.

    Args:
        path: A policy's directory, or whatever ``locate_checkpoint`` understands.
        model: Architecture to train.
        key: Source of the fresh adapters.
        like: Shapes and dtypes of the result, such as bfloat16 for frozen leaves; None: those of
            ``Policy(model).init``, which are float32.
        sharding: Where the leaves go, as JAX arrays; None: NumPy arrays.

    Raises:
        CheckpointError: If there is no checkpoint, another leaf is missing or extra, or a shape
            differs; the message names both models and what to do.
    """
    params = locate_checkpoint(path).params
    init = Policy(model).init
    shapes: Tree = jax.eval_shape(init, key) if like is None else like
    fresh = check_start(params, model, shapes)
    expected = flatten(shapes)
    loaded = flatten(load_params(params, shapes, strict=False, sharding=sharding))
    if fresh:
        _log.info("%d LoRA leaves start fresh: %s has none", len(fresh), params)
        loaded |= _fresh_leaves(init, key, {name: expected[name].dtype for name in fresh}, sharding)
    return unflatten({name: loaded[name] for name in expected})


def check_start(path: Path, model: PolicyModelConfig, like: Tree) -> list[str]:
    """Whether a training can start from a checkpoint, by the shapes alone.

    Args:
        path: Its parameters.
        model: Architecture to train.
        like: Shapes of its parameters.

    Returns:
        Paths of the leaves that are to be made fresh.

    Raises:
        CheckpointError: As for :func:`start_params`.
    """
    found = read_shapes(path)
    report = compare_trees(like, found)
    unread = [leaf for leaf in report.extra if _feeds_no_input(leaf, model)]
    fresh = [leaf for leaf in report.missing if LORA_PATHS.fullmatch(leaf)]
    rest = report._replace(
        missing=tuple(leaf for leaf in report.missing if leaf not in fresh),
        extra=tuple(leaf for leaf in report.extra if leaf not in unread),
    )
    if not rest.is_match:
        raise CheckpointError(
            f"no training of this configuration can start from {path}: "
            f"{explain_mismatch(like, found, rest)}"
        )
    if unread:
        _log.warning(
            "%d leaves of %s are left out, because the model has no such input: %s",
            len(unread), path, ", ".join(unread[:3]),
        )  # fmt: skip
    return fresh


def _feeds_no_input(leaf: str, model: PolicyModelConfig) -> bool:
    if leaf.startswith("PaliGemma/img/"):
        return not model.views
    return leaf.startswith("state_proj/") and model.state_input != "continuous"


def _fresh_leaves(
    init: Callable[[PRNGKeyArray], Params],
    key: PRNGKeyArray,
    dtypes: dict[str, np.dtype],
    sharding: Shardings | None,
) -> dict[str, jax.Array | np.ndarray]:
    """Some leaves of ``init(key)``; under jit, the others are never computed."""

    def some(key: PRNGKeyArray) -> dict[str, jax.Array]:
        flat = flatten(init(key))
        return {path: flat[path].astype(dtype) for path, dtype in dtypes.items()}

    if sharding is None:
        return {path: np.asarray(leaf) for path, leaf in jax.jit(some)(key).items()}
    places = sharding
    if not isinstance(sharding, jax.sharding.Sharding):
        flat = flatten(sharding)
        places = {path: flat[path] for path in dtypes}
    return jax.jit(some, out_shardings=places)(key)
