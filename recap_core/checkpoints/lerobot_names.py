"""How the tensors of lerobot's pi0.5 (PyTorch) correspond to openpi's leaves.

A PyTorch linear layer holds ``[out, in]``, and every layer has tensors of its own; here kernels are
``[in, out]``, heads have an axis, and layers are stacked. Every tensor is a slice of a leaf with
its axes in another order, then reshaped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recap_core.config.policy import PolicyModelConfig

VLM = "paligemma_with_expert.paligemma"
EXPERT = "paligemma_with_expert.gemma_expert"
VISION = f"{VLM}.model.vision_tower"
EMBEDDING = f"{VLM}.model.language_model.embed_tokens.weight"
TIED_HEAD = f"{VLM}.lm_head.weight"
"""The same matrix as the embedding."""
UNUSED_HEAD = f"{EXPERT}.lm_head.weight"
"""Language head of the action expert, which nothing reads."""
_PREFIX = "model."
_NORMS = {"input_layernorm": "pre_attention_norm", "post_attention_layernorm": "pre_ffw_norm"}


@dataclass(frozen=True)
class Slot:
    """A tensor, and where it lies in our tree."""

    tensor: str
    """Name without ``model.`` in front and without ``vision_model`` in it."""
    leaf: str
    index: tuple[int, ...] = ()
    """Of the leaf's first axes: layer, and key or value."""
    axes: tuple[int, ...] | None = None
    """Axes of ``leaf[index]`` in the tensor's order; None: as they are."""
    num_rows: int = 0
    """How many of these axes the tensor's first axis joins, and its second axis the rest; 0: the
    tensor has the same axes."""

    def to_tensor(self, leaf: np.ndarray) -> np.ndarray:
        """The tensor in a leaf."""
        part = leaf[self.index] if self.index else leaf
        part = part if self.axes is None else part.transpose(self.axes)
        return part.reshape(self._joined(part.shape))

    def put(self, leaf: np.ndarray, tensor: np.ndarray) -> None:
        """Write a tensor to its place in a leaf."""
        part = leaf[self.index] if self.index else leaf
        view = part if self.axes is None else part.transpose(self.axes)
        view[...] = tensor.reshape(view.shape)

    def tensor_shape(self, leaf_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the tensor in a leaf of that shape."""
        part = leaf_shape[len(self.index) :]
        return self._joined(part if self.axes is None else tuple(part[axis] for axis in self.axes))

    def _joined(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.num_rows == 0:
            return shape
        rows, columns = shape[: self.num_rows], shape[self.num_rows :]
        return tuple(int(np.prod(part)) for part in (rows, columns) if part)


def canonical_name(name: str) -> str:
    """A tensor's name without the parts that differ between versions of lerobot and transformers.

    lerobot's files put ``model.`` in front, openpi's do not; transformers before 5.6 has a level
    ``vision_model`` inside of the vision tower.
    """
    name = name.removeprefix(_PREFIX)
    return name.replace(f"{VISION}.vision_model.", f"{VISION}.")


def lerobot_name(canonical: str, *, vision_model: bool) -> str:
    """The name that lerobot's policy gives a tensor.

    Args:
        canonical: What :func:`canonical_name` returns.
        vision_model: With the level ``vision_model``, for transformers before 5.6.
    """
    if vision_model:
        canonical = canonical.replace(f"{VISION}.", f"{VISION}.vision_model.")
    return _PREFIX + canonical


def slots(model: PolicyModelConfig) -> list[Slot]:
    """Every tensor that belongs to a leaf of a pi0.5 of that size."""
    found = [Slot(EMBEDDING, "PaliGemma/llm/embedder/input_embedding")]
    if model.views:
        img = "PaliGemma/img"
        found += siglip_slots(model.siglip.depth, vision=f"{VISION}.", img=img)
        found += _linear(f"{VLM}.model.multi_modal_projector.linear", f"{img}/head")
    found += _gemma(f"{VLM}.model.language_model", "", model.vlm.depth, adaptive=False)
    found += _gemma(f"{EXPERT}.model", "_1", model.expert.depth, adaptive=True)
    for name in ("action_in_proj", "action_out_proj", "time_mlp_in", "time_mlp_out"):
        found += _linear(name, name)
    return found


def _linear(tensor: str, leaf: str, index: tuple[int, ...] = ()) -> Iterator[Slot]:
    yield Slot(f"{tensor}.weight", f"{leaf}/kernel", index, (1, 0))
    yield Slot(f"{tensor}.bias", f"{leaf}/bias", index)


def siglip_slots(depth: int, *, vision: str, img: str) -> Iterator[Slot]:
    """Every tensor of transformers' SigLIP encoder, without its pooling head.

    Args:
        depth: Number of layers.
        vision: What stands in front of the tensors' names, with a dot; may be empty.
        img: Path of the encoder in our tree.
    """
    blocks = f"{img}/Transformer/encoderblock"
    attention = f"{blocks}/MultiHeadDotProductAttention_0"
    patches = f"{vision}embeddings.patch_embedding"
    yield Slot(f"{patches}.weight", f"{img}/embedding/kernel", (), (3, 2, 0, 1))
    yield Slot(f"{patches}.bias", f"{img}/embedding/bias")
    yield Slot(f"{vision}embeddings.position_embedding.weight", f"{img}/pos_embedding", (0,))
    for i in range(depth):
        layer, at = f"{vision}encoder.layers.{i}", (i,)
        for number in (1, 2):
            norm = f"{blocks}/LayerNorm_{number - 1}"
            yield Slot(f"{layer}.layer_norm{number}.weight", f"{norm}/scale", at)
            yield Slot(f"{layer}.layer_norm{number}.bias", f"{norm}/bias", at)
        for name in ("query", "key", "value"):
            tensor, leaf = f"{layer}.self_attn.{name[0]}_proj", f"{attention}/{name}"
            yield Slot(f"{tensor}.weight", f"{leaf}/kernel", at, (1, 2, 0), 2)
            yield Slot(f"{tensor}.bias", f"{leaf}/bias", at, (0, 1), 2)
        tensor, leaf = f"{layer}.self_attn.out_proj", f"{attention}/out"
        yield Slot(f"{tensor}.weight", f"{leaf}/kernel", at, (2, 0, 1), 1)
        yield Slot(f"{tensor}.bias", f"{leaf}/bias", at)
        for number in (1, 2):
            yield from _linear(
                f"{layer}.mlp.fc{number}", f"{blocks}/MlpBlock_0/Dense_{number - 1}", at
            )
    norm = f"{img}/Transformer/encoder_norm"
    yield Slot(f"{vision}post_layernorm.weight", f"{norm}/scale")
    yield Slot(f"{vision}post_layernorm.bias", f"{norm}/bias")


def _gemma(root: str, suffix: str, depth: int, *, adaptive: bool) -> Iterator[Slot]:
    llm = "PaliGemma/llm"
    attn, mlp = f"{llm}/layers/attn", f"{llm}/layers/mlp{suffix}"
    for i in range(depth):
        layer, at = f"{root}.layers.{i}", (i,)
        attention = f"{layer}.self_attn"
        heads = {"axes": (0, 2, 1), "num_rows": 2}
        yield Slot(f"{attention}.q_proj.weight", f"{attn}/q_einsum{suffix}/w", at, **heads)
        for which, name in enumerate(("k_proj", "v_proj")):
            leaf = f"{attn}/kv_einsum{suffix}/w"
            yield Slot(f"{attention}.{name}.weight", leaf, (i, which), **heads)
        leaf = f"{attn}/attn_vec_einsum{suffix}/w"
        yield Slot(f"{attention}.o_proj.weight", leaf, at, (2, 0, 1), 1)
        for which, name in enumerate(("gate_proj", "up_proj")):
            yield Slot(f"{layer}.mlp.{name}.weight", f"{mlp}/gating_einsum", (i, which), (1, 0))
        yield Slot(f"{layer}.mlp.down_proj.weight", f"{mlp}/linear", at, (1, 0))
        norms = {
            "input_layernorm": "pre_attention_norm",
            "post_attention_layernorm": "pre_ffw_norm",
        }
        for name, ours in norms.items():
            leaf = f"{llm}/layers/{ours}{suffix}"
            yield from _norm(f"{layer}.{name}", leaf, at, adaptive=adaptive)
    yield from _norm(f"{root}.norm", f"{llm}/final_norm{suffix}", (), adaptive=adaptive)


def _norm(tensor: str, leaf: str, index: tuple[int, ...], *, adaptive: bool) -> Iterator[Slot]:
    if adaptive:
        yield from _linear(f"{tensor}.dense", f"{leaf}/Dense_0", index)
    else:
        yield Slot(f"{tensor}.weight", f"{leaf}/scale", index)
