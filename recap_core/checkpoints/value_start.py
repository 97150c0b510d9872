"""The parameters that a value training starts from: another value model's.

Every leaf comes from the start, averaged where it has averages. Only adapters may be missing there,
and leaves that the start itself says it could not fill; those are made fresh.
"""

import logging
import re
from collections.abc import Callable, Collection
from pathlib import Path

import jax
from jaxtyping import PRNGKeyArray

from recap_core.checkpoints.params import Shardings, load_params, read_shapes
from recap_core.checkpoints.trees import Tree, compare_trees, flatten, unflatten
from recap_core.checkpoints.value_checkpoint import read_value_model
from recap_core.config.value import ValueConfig
from recap_core.errors import CheckpointError, IncompatibleError
from recap_core.models.parameters import Params

_log = logging.getLogger(__name__)

_ADAPTERS = re.compile(r".*lora.*")
_MEANING = {
    "gemma": ("num_heads", "sliding_window", "global_every", "local_rope_base", "global_rope_base"),
    "siglip": ("num_heads",),
}
"""Sizes that change what the same leaves compute."""


def check_value_start(
    directory: Path, config: ValueConfig, shapes: Tree, *, fresh: Collection[str] = (), who: str
) -> list[str]:
    """Whether a training of ``config`` can start from a value model, by shapes and settings alone.

    Args:
        directory: Of the value model.
        config: What is to be trained.
        shapes: Shapes of its parameters.
        fresh: Leaves that the value model could not fill; they need not fit.
        who: What to call the value model in an error.

    Returns:
        Paths of the leaves that are to be made fresh.

    Raises:
        CheckpointError: If there is no value model, or a leaf is missing, extra or misshapen.
        IncompatibleError: If the same leaves would mean something else.
    """
    files = read_value_model(directory)
    found = read_shapes(files.ema_params or files.params)
    report = compare_trees(shapes, found)
    missing = [leaf for leaf in report.missing if leaf not in fresh and not _is_adapter(leaf)]
    extra = [leaf for leaf in report.extra if leaf not in fresh]
    misshapen = [line for line in report.misshapen if line.partition(":")[0] not in fresh]
    problems = {"has no": missing, "also has": extra}
    for what, leaves in problems.items():
        if leaves:
            rest = f" (and {len(leaves) - 1} more leaves)" if len(leaves) > 1 else ""
            raise CheckpointError(f"{who} {what} {leaves[0]}{rest}: {_ADVICE}")
    if misshapen:
        rest = f" (and {len(misshapen) - 1} more leaves)" if len(misshapen) > 1 else ""
        raise CheckpointError(f"{who} is another model: {misshapen[0]}{rest}. {_ADVICE}")
    _check_meaning(files.settings.config, config, who)
    unfit = [line.partition(":")[0] for line in report.misshapen]
    return [*report.missing, *unfit]


_ADVICE = (
    "Set value.model to the start's sizes, import weights of this size, or train from fresh "
    "parameters without a start"
)


def value_start_params(  # noqa: PLR0913 - options are keyword-only
    directory: Path,
    init: Callable[[PRNGKeyArray], Params],
    key: PRNGKeyArray,
    *,
    like: Tree,
    fresh: Collection[str],
    sharding: Shardings,
) -> Params:
    """Parameters of a value model, and fresh leaves where it has none.

    Args:
        directory: Of the value model; :func:`check_value_start` has passed.
        init: Makes fresh parameters.
        key: Source of the fresh leaves: they are those of ``init(key)``.
        like: Shapes and dtypes of the result.
        fresh: What :func:`check_value_start` returned.
        sharding: Where the leaves go, as JAX arrays.
    """
    files = read_value_model(directory)
    expected, places = flatten(like), _by_leaf(sharding, like)
    wanted = unflatten({name: leaf for name, leaf in expected.items() if name not in fresh})
    loaded = flatten(
        load_params(
            files.ema_params or files.params,
            wanted,
            strict=False,
            sharding=unflatten({name: places[name] for name in flatten(wanted)}),
        )
    )
    if fresh:
        _log.info("%d leaves start fresh, %s has none: %s", len(fresh), directory, ", ".join(fresh))
        loaded |= _fresh_leaves(init, key, {name: places[name] for name in fresh})
    return unflatten({name: loaded[name] for name in expected})


def _fresh_leaves(
    init: Callable[[PRNGKeyArray], Params],
    key: PRNGKeyArray,
    places: dict[str, jax.sharding.Sharding],
) -> dict[str, jax.Array]:
    """Some leaves of ``init(key)``; under jit, the others are never computed."""

    def some(key: PRNGKeyArray) -> dict[str, jax.Array]:
        flat = flatten(init(key))
        return {name: flat[name] for name in places}

    return jax.jit(some, out_shardings=places)(key)


def _by_leaf(sharding: Shardings, like: Tree) -> dict[str, jax.sharding.Sharding]:
    if isinstance(sharding, jax.sharding.Sharding):
        return dict.fromkeys(flatten(like), sharding)
    return flatten(sharding)


def _is_adapter(leaf: str) -> bool:
    return _ADAPTERS.fullmatch(leaf) is not None


def _check_meaning(before: ValueConfig, now: ValueConfig, who: str) -> None:
    """Raise IncompatibleError for what the shapes of the leaves do not show."""
    pairs = [
        (f"{part}.{field}", *(getattr(getattr(one.model, part), field) for one in (before, now)))
        for part, fields in _MEANING.items()
        for field in fields
    ]
    adapters = [one.model.gemma.lora for one in (before, now)]
    if None not in adapters:
        pairs.append(("gemma.lora", *adapters))
    pairs.append(("fusion", before.model.fusion, now.model.fusion))
    for field, old, new in pairs:
        if old != new:
            raise IncompatibleError(
                f"{who} has {field} {old}, and value.model.{field} is {new}: the same weights "
                f"would mean something else. Set it to the start's."
            )
    digests = [one.prompt.tokenizer_digest for one in (before, now)]
    if None not in digests and digests[0] != digests[1]:
        raise IncompatibleError(
            f"{who} reads its prompts through another tokenizer ({before.prompt.tokenizer}) than "
            f"value.prompt.tokenizer ({now.prompt.tokenizer}): its word embeddings would mean "
            "other words. Set it to the start's."
        )
