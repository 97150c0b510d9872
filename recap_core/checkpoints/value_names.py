"""How the names in published weights correspond to the value model's leaves.

    ours                                  per layer (big_vision, DeepMind, the reference)
    img/Transformer/encoderblock/...      img/Transformer/encoderblock_0/...
    llm/layers/attn/query_norm/scale      llm/layer_0/attn/_query_norm/scale
    llm/layers/mlp/gating_einsum          llm/layer_0/mlp/gating_einsum, transposed

Stacked files have our names. DeepMind's files put ``transformer/`` in front and ``/w`` behind the
MLP's weights; nnx puts ``/value`` behind everything. transformers has a tensor per linear layer.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from recap_core.checkpoints.lerobot_names import Slot, siglip_slots
from recap_core.checkpoints.params import NNX_LEAF
from recap_core.checkpoints.weight_files import Stored
from recap_core.config.import_value import ValueLayout
from recap_core.config.value import ValueModelConfig
from recap_core.errors import CheckpointError

EMBEDDING = "llm/embedder/input_embedding"
EMBED_TOKENS = "embed_tokens.weight"
"""The same of transformers."""
IMG_HEAD = ("img/head/kernel", "img/head/bias")
"""Linear layer that older value models of the reference have between SigLIP and projection."""
_BLOCKS = "img/Transformer/encoderblock"
_LAYERS = "llm/layers"
_GATING = "mlp/gating_einsum"
_SPELLINGS = (
    (re.compile(r"/_(query|key)_norm/"), r"/\1_norm/"),
    (re.compile(r"/mlp/(gating_einsum|linear)/w$"), r"/mlp/\1"),
    (re.compile(r"^img/Transformer/(posembed_input/)?pos_embedding$"), "img/pos_embedding"),
)
_ANCHORS: dict[ValueLayout, str] = {
    "big_vision": "Transformer/encoder_norm/scale",
    "deepmind_gemma": "embedder/input_embedding",
    "transformers_siglip": "embeddings.patch_embedding.weight",
    "transformers_gemma": EMBED_TOKENS,
}
"""A name that every such file has; what stands in front of it stands in front of the others."""
_PART: dict[ValueLayout, str] = {
    "big_vision": "img",
    "deepmind_gemma": "llm",
    "transformers_siglip": "img",
    "transformers_gemma": "llm",
}
_LAYER_NUMBERS = (
    (re.compile(r"^img/Transformer/encoderblock_(\d+)/"), "img"),
    (re.compile(r"^llm/layer_(\d+)/"), "llm"),
    (re.compile(r"^encoder\.layers\.(\d+)\."), "img"),
    (re.compile(r"^layers\.(\d+)\."), "llm"),
)


class Names(NamedTuple):
    """A checkpoint's names, and what they mean."""

    stored: dict[str, str]
    """Our spelling of a name to the file's; names of other things are left out."""
    others: tuple[str, ...]
    """Names in the file that are none of them."""
    parts: tuple[str, ...]
    """Top groups of the model that the checkpoint claims to hold."""


def read_names(layout: ValueLayout, arrays: Mapping[str, Stored], *, ema: bool = False) -> Names:
    """Find the model in a file's names.

    Raises:
        CheckpointError: If it is not there, or two names mean the same leaf.
    """
    if layout == "value_model":
        prefix, part = _value_model_prefix(arrays, ema=ema), ""
    else:
        prefix, part = _prefix(arrays, _ANCHORS[layout]), _PART[layout]
    inside = [name for name in arrays if name.startswith(prefix)]
    suffix = f"/{NNX_LEAF}"
    if not all(name.endswith(suffix) for name in inside):
        suffix = ""
    root = f"{part}/" if part and not layout.startswith("transformers") else ""
    stored: dict[str, str] = {}
    for name in inside:
        ours = _spelling(root + name.removeprefix(prefix).removesuffix(suffix))
        if ours in stored:
            raise CheckpointError(f"{name} and {stored[ours]} are both {ours}. Keep one of them.")
        stored[ours] = name
    others = tuple(name for name in arrays if not name.startswith(prefix))
    if layout == "value_model":
        # The other set of parameters, and the step, are no leaves of this one.
        others = ()
        parts = tuple(sorted({name.partition("/")[0] for name in stored}))
    else:
        parts = (part,)
    return Names(stored, others, parts)


def slots_of(
    layout: ValueLayout,
    names: Names,
    arrays: Mapping[str, Stored],
    leaves: Mapping[str, tuple[int, ...]],
    model: ValueModelConfig,
) -> list[Slot]:
    """What fills the leaves of the parts that a checkpoint claims to hold.

    Args:
        layout: Whose names they are.
        names: Of the checkpoint.
        arrays: Shapes in the file.
        leaves: Shape of every leaf of those parts.
        model: Sizes.
    """
    if layout == "transformers_siglip":
        return list(siglip_slots(model.siglip.depth, vision="", img="img"))
    if layout == "transformers_gemma":
        return list(_transformers_gemma(model.gemma.depth))
    is_per_block = any(name.startswith(f"{_BLOCKS}_") for name in names.stored)
    is_per_layer = any(name.startswith("llm/layer_") for name in names.stored)
    found: list[Slot] = []
    for leaf, shape in leaves.items():
        if is_per_block and leaf.startswith(f"{_BLOCKS}/"):
            rest = leaf.removeprefix(f"{_BLOCKS}/")
            found += [Slot(f"{_BLOCKS}_{i}/{rest}", leaf, (i,)) for i in range(shape[0])]
        elif is_per_layer and leaf.startswith(f"{_LAYERS}/"):
            rest = leaf.removeprefix(f"{_LAYERS}/")
            axes = None
            if rest == _GATING and not _is_like_ours(names, arrays, shape):
                axes = (0, 2, 1)
            found += [Slot(f"llm/layer_{i}/{rest}", leaf, (i,), axes) for i in range(shape[0])]
        else:
            found.append(Slot(leaf, leaf))
    return found


def wrong_depths(names: Names, model: ValueModelConfig) -> list[str]:
    """Backbones whose file has another number of layers: each would fit layer by layer."""
    depths: dict[str, int] = {}
    for name in names.stored:
        for pattern, part in _LAYER_NUMBERS:
            if (found := pattern.match(name)) and part in names.parts:
                depths[part] = max(depths.get(part, 0), int(found[1]) + 1)
    wanted = {"img": model.siglip.depth, "llm": model.gemma.depth}
    return [
        f"{part} has {depth} layers, the model {wanted[part]}"
        for part, depth in depths.items()
        if depth != wanted[part]
    ]


def _is_like_ours(names: Names, arrays: Mapping[str, Stored], leaf: tuple[int, ...]) -> bool:
    """Whether a per-layer MLP weight is [2, width, mlp], as Gemma 1 had it, and not transposed."""
    stored = names.stored.get(f"llm/layer_0/{_GATING}")
    shape = leaf[1:]
    is_square = shape[1] == shape[2]
    return stored is not None and not is_square and arrays[stored].shape == shape


def _transformers_gemma(depth: int) -> Iterator[Slot]:
    attn, mlp = f"{_LAYERS}/attn", f"{_LAYERS}/mlp"
    yield Slot(EMBED_TOKENS, EMBEDDING)
    for i in range(depth):
        layer, at = f"layers.{i}", (i,)
        attention = f"{layer}.self_attn"
        heads = {"axes": (0, 2, 1), "num_rows": 2}
        yield Slot(f"{attention}.q_proj.weight", f"{attn}/q_einsum/w", at, **heads)
        yield Slot(f"{attention}.k_proj.weight", f"{attn}/kv_einsum/w", (i, 0), **heads)
        yield Slot(f"{attention}.v_proj.weight", f"{attn}/kv_einsum/w", (i, 1), **heads)
        yield Slot(f"{attention}.o_proj.weight", f"{attn}/attn_vec_einsum/w", at, (2, 0, 1), 1)
        yield Slot(f"{attention}.q_norm.weight", f"{attn}/query_norm/scale", at)
        yield Slot(f"{attention}.k_norm.weight", f"{attn}/key_norm/scale", at)
        yield Slot(f"{layer}.mlp.gate_proj.weight", f"{mlp}/gating_einsum", (i, 0), (1, 0))
        yield Slot(f"{layer}.mlp.up_proj.weight", f"{mlp}/gating_einsum", (i, 1), (1, 0))
        yield Slot(f"{layer}.mlp.down_proj.weight", f"{mlp}/linear", at, (1, 0))
        for theirs, ours in _NORMS.items():
            yield Slot(f"{layer}.{theirs}.weight", f"{_LAYERS}/{ours}/scale", at)
    yield Slot("norm.weight", "llm/final_norm/scale")


_NORMS = {
    "input_layernorm": "pre_attention_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "pre_ffw_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def _spelling(name: str) -> str:
    for pattern, ours in _SPELLINGS:
        name = pattern.sub(ours, name)
    return name


def _prefix(names: Iterable[str], anchor: str) -> str:
    ends = (anchor, f"{anchor}/{NNX_LEAF}")
    found = sorted({name.removesuffix(f"/{NNX_LEAF}").removesuffix(anchor) for name in names
                    if name.endswith(ends)}, key=len)  # fmt: skip
    if not found:
        raise CheckpointError(
            f"no array is called ...{anchor}, so these are other weights. The first names are "
            f"{sorted(names)[:3]}."
        )
    if len(found) == 1:
        return found[0]
    # A file of two towers: the image tower is called img, the language model language_model.
    preferred = [prefix for prefix in found if "img" in prefix or "language_model" in prefix]
    return (preferred or found)[0]


def _value_model_prefix(names: Iterable[str], *, ema: bool) -> str:
    tops = sorted({name.partition("/")[0] for name in names})
    wanted = "ema_params" if ema else "params"
    if wanted in tops:
        return f"{wanted}/"
    if not ema and {"llm", "value_head"} & set(tops):
        return ""
    raise CheckpointError(f"there is no {wanted} in the checkpoint, only {tops}.")
