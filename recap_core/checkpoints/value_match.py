"""Published weights compared with a value model: names and shapes, before an array is read."""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from recap_core.checkpoints.lerobot_names import Slot
from recap_core.checkpoints.match_report import MatchReport, SourceMatch, fresh_parts
from recap_core.checkpoints.start import LORA_PATHS
from recap_core.checkpoints.transformers_configs import check_gemma_config, check_siglip_config
from recap_core.checkpoints.trees import flatten
from recap_core.checkpoints.value_names import (
    EMBED_TOKENS,
    EMBEDDING,
    IMG_HEAD,
    Names,
    read_names,
    slots_of,
    wrong_depths,
)
from recap_core.checkpoints.value_places import Place
from recap_core.checkpoints.weight_files import (
    Stored,
    Weights,
    open_npz,
    open_orbax,
    open_safetensors,
)
from recap_core.config.value import ValueModelConfig
from recap_core.errors import CheckpointError, ConfigError
from recap_core.models.value_model import ValueModel

_MAX_PADDING = 127
"""Rows that a published embedding may have beyond the vocabulary: transformers pads to 64."""
_MAX_EXAMPLES = 5


class Source(NamedTuple):
    """A checkpoint that fits, and how its arrays become leaves."""

    place: Place
    weights: Weights
    names: Names
    parts: tuple[str, ...]
    slots: dict[str, list[Slot]]
    """By leaf that it fills."""
    folds_head: bool
    """Whether its linear layer behind SigLIP becomes part of the projection."""


class Match(NamedTuple):
    """Sources that together fill a model, and the leaves that they leave."""

    sources: tuple[Source, ...]
    shapes: dict[str, jax.ShapeDtypeStruct]
    """Of every leaf of the model."""
    fresh: tuple[str, ...]
    report: MatchReport


def match_sources(
    places: Sequence[Place], model: ValueModelConfig, *, ema: bool = False, min_match: float = 1.0
) -> Match:
    """Compare checkpoints with a model.

    Args:
        places: From ``find_places``.
        model: Sizes.
        ema: Of the reference's value models, take the averaged parameters.
        min_match: Share of the leaves that must be found, of the parts that a source holds.

    Raises:
        CheckpointError: If a file is damaged, a shape differs, too few leaves are found, or a
            value model has leaves that the model lacks.
        IncompatibleError: If ``config.json`` says other sizes.
        ConfigError: If two sources hold the same part.
    """
    opened = [(place, _open(place, model)) for place in places]
    return match_weights(opened, model, ema=ema, min_match=min_match)


def match_weights(
    opened: Sequence[tuple[Place, Weights]],
    model: ValueModelConfig,
    *,
    ema: bool = False,
    min_match: float = 1.0,
) -> Match:
    """:func:`match_sources` of checkpoints whose names and shapes are known."""
    shapes = flatten(jax.eval_shape(ValueModel(model).init, jax.random.key(0)))
    sources = tuple(
        _match(place, weights, shapes, model, (ema, min_match)) for place, weights in opened
    )
    owners: dict[str, Place] = {}
    for source in sources:
        for part in source.parts:
            if part in owners:
                raise ConfigError(
                    f"{owners[part].path} and {source.place.path} both hold {part}. Name one of "
                    "them, or take SigLIP and Gemma alone of a value model with --take backbones."
                )
            owners[part] = source.place
    filled = {leaf for source in sources for leaf in source.slots}
    fresh = tuple(leaf for leaf in shapes if leaf not in filled)
    report = MatchReport(
        sources=tuple(_told(source, shapes) for source in sources),
        fresh=fresh_parts({leaf: shapes[leaf].size for leaf in fresh}),
        fresh_leaves=fresh,
    )
    return Match(sources, shapes, fresh, report)


def _match(
    place: Place,
    weights: Weights,
    shapes: Mapping[str, jax.ShapeDtypeStruct],
    model: ValueModelConfig,
    rule: tuple[bool, float],
) -> Source:
    """Compare one checkpoint; ``rule`` is whether averages are meant, and the share to find."""
    ema, min_match = rule
    names = read_names(place.layout, weights.arrays, ema=ema)
    known = {leaf.partition("/")[0] for leaf in shapes}
    parts = tuple(part for part in names.parts if part in (place.take or known))
    if not parts:
        raise CheckpointError(
            f"{place.path} holds {', '.join(names.parts)}; the model has {', '.join(sorted(known))}"
            ". Without cameras (model.views is empty) it has no SigLIP."
        )
    leaves = {leaf: s.shape for leaf, s in shapes.items() if leaf.partition("/")[0] in parts}
    return _Comparison(place, weights, names, parts, model).result(leaves, min_match)


class _Comparison(NamedTuple):
    place: Place
    weights: Weights
    names: Names
    parts: tuple[str, ...]
    model: ValueModelConfig

    def result(self, leaves: Mapping[str, tuple[int, ...]], min_match: float) -> Source:
        """The source, after checking everything that names and shapes say."""
        place, names, arrays = self.place, self.names, self.weights.arrays
        by_leaf: dict[str, list[Slot]] = {}
        for slot in slots_of(place.layout, names, arrays, leaves, self.model):
            by_leaf.setdefault(slot.leaf, []).append(slot)
        missing: dict[str, list[str]] = {}
        for leaf in leaves:
            wanted = [slot.tensor for slot in by_leaf.get(leaf, [])] or [leaf]
            absent = [tensor for tensor in wanted if tensor not in names.stored]
            if absent:
                missing[leaf] = absent
        self._check_shapes(by_leaf, leaves)
        folds_head = (
            place.layout == "value_model"
            and set(IMG_HEAD) <= names.stored.keys()
            and not set(IMG_HEAD) & leaves.keys()
            and "img_projection" in self.parts
        )
        self._check_extra(by_leaf, folds_head=folds_head)
        needed = [leaf for leaf in leaves if not LORA_PATHS.fullmatch(leaf)]
        found = [leaf for leaf in needed if leaf not in missing]
        if len(found) < min_match * len(needed) or not found:
            self._refuse(missing, by_leaf, num_found=len(found), num_needed=len(needed))
        slots = {leaf: by_leaf[leaf] for leaf in leaves if leaf not in missing}
        return Source(place, self.weights, names, self.parts, slots, folds_head)

    def _check_shapes(
        self, by_leaf: Mapping[str, list[Slot]], leaves: Mapping[str, tuple[int, ...]]
    ) -> None:
        wrong = wrong_depths(self.names, self.model)
        for leaf, slots in by_leaf.items():
            for slot in slots:
                stored = self.names.stored.get(slot.tensor)
                if stored is None:
                    continue
                found, wanted = self.weights.arrays[stored], slot.tensor_shape(leaves[leaf])
                if not jnp.issubdtype(found.dtype, jnp.floating):
                    wrong.append(f"{stored} is {found.dtype}, not floating-point")
                elif found.shape != wanted and not _is_padded(slot, found, wanted):
                    wrong.append(f"{stored} is {found.shape}, the model's {leaf} needs {wanted}")
        if wrong:
            more = f", and {len(wrong) - _MAX_EXAMPLES} more" if len(wrong) > _MAX_EXAMPLES else ""
            raise CheckpointError(
                f"{self.place.path} does not fit the model: {'; '.join(wrong[:_MAX_EXAMPLES])}"
                f"{more}. {_advice(wrong)}"
            )

    def _check_extra(self, by_leaf: Mapping[str, list[Slot]], *, folds_head: bool) -> None:
        """A value model must not compute more than ours does."""
        if self.place.layout != "value_model":
            return
        used = {slot.tensor for slots in by_leaf.values() for slot in slots}
        if folds_head or self.place.take is not None:
            used |= set(IMG_HEAD)
        extra = sorted(
            name
            for name in self.names.stored
            if name not in used
            and (self.place.take is None or name.partition("/")[0] in self.place.take)
        )
        if extra:
            raise CheckpointError(
                f"{self.place.path} has {len(extra)} leaves that the model lacks "
                f"({', '.join(extra[:3])}), so it computes something else. Use the configuration "
                "that it was trained with, or take its SigLIP and Gemma alone: --take backbones."
            )

    def _refuse(
        self,
        missing: Mapping[str, list[str]],
        by_leaf: Mapping[str, list[Slot]],
        *,
        num_found: int,
        num_needed: int,
    ) -> None:
        used = {slot.tensor for slots in by_leaf.values() for slot in slots}
        spare = sorted(self.names.stored.keys() - used)
        examples = []
        for absent in list(missing.values())[:_MAX_EXAMPLES]:
            close = difflib.get_close_matches(absent[0], spare, n=1)
            examples.append(absent[0] + (f" (closest: {close[0]})" if close else ""))
        raise CheckpointError(
            f"{self.place.path} holds {num_found} of the {num_needed} leaves of "
            f"{', '.join(self.parts)}; missing are {', '.join(examples)}. Copy or download it "
            "again, or lower --min-match to draw the missing leaves fresh."
        )


def _open(place: Place, model: ValueModelConfig) -> Weights:
    match place.layout:
        case "big_vision":
            return open_npz(place.path)
        case "value_model" | "deepmind_gemma":
            return open_orbax(place.path)
        case "transformers_siglip":
            check_siglip_config(place.path, model)
        case "transformers_gemma":
            check_gemma_config(place.path, model)
    return open_safetensors(place.path)


def _is_padded(slot: Slot, found: Stored, wanted: tuple[int, ...]) -> bool:
    """Whether an embedding has a few unused rows more than the vocabulary."""
    return (
        slot.leaf == EMBEDDING
        and len(found.shape) == len(wanted)
        and found.shape[1:] == wanted[1:]
        and 0 < found.shape[0] - wanted[0] <= _MAX_PADDING
    )


def _advice(wrong: Sequence[str]) -> str:
    text = " ".join(wrong)
    if "pos_embedding" in text and len(wrong) == 1:
        return (
            "Positions are not resampled: take the weights for this image size, or set "
            "model.image_px to that of the weights."
        )
    if EMBEDDING in text and len(wrong) == 1:
        return "Set model.vocab_size to that of the weights."
    return (
        "Take the weights that belong to this size, or say the sizes of these with --preset or "
        "--config."
    )


def _told(source: Source, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> SourceMatch:
    names = source.names
    used = {slot.tensor for slots in source.slots.values() for slot in slots}
    notes: list[str] = []
    if source.folds_head:
        used |= set(IMG_HEAD)
        notes.append("img/head is folded into img_projection: the same function, one layer less")
    table = names.stored.get(EMBEDDING) or names.stored.get(EMBED_TOKENS)
    if EMBEDDING in source.slots and table is not None:
        num_rows = shapes[EMBEDDING].shape[0]
        if (stored := source.weights.arrays[table].shape[0]) > num_rows:
            notes.append(f"rows {num_rows} to {stored - 1} of the embedding are left out")
    unused = sorted({stored for name, stored in names.stored.items() if name not in used})
    unused += sorted(names.others)
    return SourceMatch(
        path=str(source.place.path),
        layout=source.place.layout,
        parts=source.parts,
        step=source.place.step,
        num_leaves=len(source.slots),
        num_params=sum(math.prod(shapes[leaf].shape) for leaf in source.slots),
        num_unused=len(unused),
        unused=tuple(unused[:_MAX_EXAMPLES]),
        notes=tuple(notes),
    )
