"""Published weights read into the value model's tree, and written back as the reference does."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from recap_core.checkpoints.trees import flatten, unflatten
from recap_core.checkpoints.value_match import Match, Source
from recap_core.checkpoints.value_names import EMBED_TOKENS, EMBEDDING, IMG_HEAD
from recap_core.config.value import ValueModelConfig
from recap_core.errors import CheckpointError
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueModel
from recap_core.progress import Bar, Progress, Silent

_PROJECTION = ("img_projection/kernel", "img_projection/bias")


def read_value_weights(
    match: Match, model: ValueModelConfig, *, seed: int, progress: Progress | None = None
) -> Params:
    """The parameters of a value model, as NumPy arrays.

    Leaves keep the dtype of their source, so that bfloat16 weights stay what they are; a training
    casts them when it starts. Where layers differ in dtype, and for float64, it is float32.

    Args:
        match: From ``match_sources``.
        model: Sizes.
        seed: Of the leaves that no source holds: those that a fresh model of that seed has.
        progress: Who watches.

    Raises:
        CheckpointError: If a file is damaged, or a number is NaN or infinite.
    """
    leaves: dict[str, np.ndarray] = {}
    total = sum(len(source.slots) for source in match.sources)
    with (progress or Silent()).bar("read weights", total) as bar:
        for source in match.sources:
            _fill(leaves, source, match, bar)
    if match.fresh:
        drawn = _drawer(model, match.fresh)(jax.random.key(seed))
        leaves |= {leaf: np.asarray(array) for leaf, array in drawn.items()}
    return unflatten({leaf: leaves[leaf] for leaf in match.shapes})


def _fill(leaves: dict[str, np.ndarray], source: Source, match: Match, bar: Bar) -> None:
    names = source.names.stored
    wanted = [names[slot.tensor] for slots in source.slots.values() for slot in slots]
    if source.folds_head:
        wanted += [names[name] for name in IMG_HEAD]
    arrays = dict(source.weights.read(wanted))
    table = names.get(EMBEDDING) or names.get(EMBED_TOKENS)
    if EMBEDDING in source.slots and table is not None:
        arrays[table] = arrays[table][: match.shapes[EMBEDDING].shape[0]]
    _check_finite(arrays, wanted, source)
    for leaf, slots in source.slots.items():
        found = [arrays[names[slot.tensor]] for slot in slots]
        array = np.empty(match.shapes[leaf].shape, _common_dtype([part.dtype for part in found]))
        for slot, part in zip(slots, found, strict=True):
            slot.put(array, part)
        leaves[leaf] = array
        bar.update(len(leaves))
    if source.folds_head:
        _fold_head(leaves, [arrays[names[name]] for name in IMG_HEAD])


def _fold_head(leaves: dict[str, np.ndarray], head: list[np.ndarray]) -> None:
    """``(x H + h) P + p`` as one layer: ``x (H P) + (h P + p)``, rounded once."""
    kernel, bias = (array.astype(np.float64) for array in head)
    projection, offset = (leaves[leaf].astype(np.float64) for leaf in _PROJECTION)
    folded = (kernel @ projection, bias @ projection + offset)
    for leaf, array in zip(_PROJECTION, folded, strict=True):
        leaves[leaf] = array.astype(np.float32)


def _check_finite(arrays: Mapping[str, np.ndarray], wanted: Sequence[str], source: Source) -> None:
    bad = {
        name: count
        for name in wanted
        if (count := int(np.count_nonzero(~np.isfinite(arrays[name]))))
    }
    if bad:
        first = ", ".join(f"{count} in {name}" for name, count in list(bad.items())[:3])
        raise CheckpointError(
            f"{source.place.path} is not finite: {len(bad)} arrays hold NaN or infinity ({first}). "
            "Nothing trains from such weights; download them again, or take an earlier step."
        )


def _common_dtype(dtypes: list[np.dtype]) -> np.dtype:
    """The dtype of all layers; float32 where they differ, and for float64."""
    is_one = len(set(dtypes)) == 1 and dtypes[0] != np.float64
    return dtypes[0] if is_one else np.dtype(np.float32)


@functools.lru_cache(maxsize=8)
def _drawer(
    model: ValueModelConfig, leaves: tuple[str, ...]
) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Some leaves of a fresh model; under jit, the others are never computed."""

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        flat = flatten(ValueModel(model).init(key))
        return {leaf: flat[leaf] for leaf in leaves}

    return jax.jit(draw)
