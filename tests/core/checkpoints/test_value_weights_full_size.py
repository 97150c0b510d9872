"""The published lists of names and shapes at full size fill the 670 M value model; no array."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from recap_core.checkpoints.value_match import match_weights
from recap_core.checkpoints.value_places import Place
from recap_core.checkpoints.weight_files import Stored, Weights
from recap_core.config.import_value import ValueLayout
from recap_core.config.sizes import VALUE_670M

WIDTH, MLP, HEADS, HEAD_DIM = 640, 2048, 4, 256
IMG, IMG_MLP, IMG_HEADS = 1152, 4304, 16

type Shapes = dict[str, tuple[int, ...]]


def gemma_layer(prefix: str, mlp_suffix: str) -> Shapes:
    """One layer of DeepMind's Gemma3_270M, as its modules declare it."""
    return {
        f"{prefix}/attn/q_einsum/w": (HEADS, WIDTH, HEAD_DIM),
        f"{prefix}/attn/kv_einsum/w": (2, 1, WIDTH, HEAD_DIM),
        f"{prefix}/attn/attn_vec_einsum/w": (HEADS, HEAD_DIM, WIDTH),
        f"{prefix}/attn/_query_norm/scale": (HEAD_DIM,),
        f"{prefix}/attn/_key_norm/scale": (HEAD_DIM,),
        f"{prefix}/mlp/gating_einsum{mlp_suffix}": (2, MLP, WIDTH),
        f"{prefix}/mlp/linear{mlp_suffix}": (MLP, WIDTH),
        f"{prefix}/pre_attention_norm/scale": (WIDTH,),
        f"{prefix}/post_attention_norm/scale": (WIDTH,),
        f"{prefix}/pre_ffw_norm/scale": (WIDTH,),
        f"{prefix}/post_ffw_norm/scale": (WIDTH,),
    }


def gemma(prefix: str, mlp_suffix: str = "") -> Shapes:
    found = {
        f"{prefix}/embedder/input_embedding": (262_144, WIDTH),
        f"{prefix}/final_norm/scale": (WIDTH,),
    }
    for i in range(18):
        found |= gemma_layer(f"{prefix}/layer_{i}", mlp_suffix)
    return found


def attention(prefix: str, width: int, heads: int, stack: tuple[int, ...] = ()) -> Shapes:
    """Flax's multi-head attention."""
    head_dim = width // heads
    found: Shapes = {}
    for name in ("query", "key", "value"):
        found[f"{prefix}/{name}/kernel"] = (*stack, width, heads, head_dim)
        found[f"{prefix}/{name}/bias"] = (*stack, heads, head_dim)
    found[f"{prefix}/out/kernel"] = (*stack, heads, head_dim, width)
    return found | {f"{prefix}/out/bias": (*stack, width)}


def dense(prefix: str, rows: int, columns: int, stack: tuple[int, ...] = ()) -> Shapes:
    return {f"{prefix}/kernel": (*stack, rows, columns), f"{prefix}/bias": (*stack, columns)}


def norm(prefix: str, width: int, stack: tuple[int, ...] = ()) -> Shapes:
    return {f"{prefix}/scale": (*stack, width), f"{prefix}/bias": (*stack, width)}


def siglip(prefix: str) -> Shapes:
    """big_vision's So400m/14 at 224 px with stacked layers."""
    block, stack = f"{prefix}/Transformer/encoderblock", (27,)
    return {
        f"{prefix}/embedding/kernel": (14, 14, 3, IMG),
        f"{prefix}/embedding/bias": (IMG,),
        f"{prefix}/pos_embedding": (1, 256, IMG),
        **norm(f"{block}/LayerNorm_0", IMG, stack),
        **norm(f"{block}/LayerNorm_1", IMG, stack),
        **attention(f"{block}/MultiHeadDotProductAttention_0", IMG, IMG_HEADS, stack),
        **dense(f"{block}/MlpBlock_0/Dense_0", IMG, IMG_MLP, stack),
        **dense(f"{block}/MlpBlock_0/Dense_1", IMG_MLP, IMG, stack),
        **norm(f"{prefix}/Transformer/encoder_norm", IMG),
    }


def pooling(prefix: str) -> Shapes:
    """big_vision's attention pooling, which nothing of ours reads."""
    return {
        f"{prefix}/probe": (1, 1, IMG),
        **attention(f"{prefix}/MultiHeadDotProductAttention_0", IMG, IMG_HEADS),
        **norm(f"{prefix}/LayerNorm_0", IMG),
        **dense(f"{prefix}/MlpBlock_0/Dense_0", IMG, IMG_MLP),
        **dense(f"{prefix}/MlpBlock_0/Dense_1", IMG_MLP, IMG),
    }


def bundle() -> Shapes:
    """The value model of the reference's bundle: 241 leaves, with a linear head on SigLIP."""
    return {
        **siglip("params/img"),
        **dense("params/img/head", IMG, IMG),
        **dense("params/img_projection", IMG, WIDTH),
        **gemma("params/llm"),
        **attention("params/cross_attention", WIDTH, 8),
        **norm("params/cross_attn_norm", WIDTH),
        **norm("params/value_head/layer_norm", WIDTH),
        **dense("params/value_head/linear1", WIDTH, 320),
        **dense("params/value_head/linear2", 320, 201),
    }


def transformers(layout: ValueLayout) -> Shapes:
    """The tensors of the published sizes, made without memory."""
    make_siglip: Any = SiglipVisionConfig
    make_gemma: Any = Gemma3TextConfig
    with torch.device("meta"):
        if layout == "transformers_siglip":
            model: torch.nn.Module = SiglipVisionModel(
                make_siglip(
                    hidden_size=IMG, intermediate_size=IMG_MLP, num_hidden_layers=27,
                    num_attention_heads=IMG_HEADS, patch_size=14, image_size=224,
                )
            )  # fmt: skip
        else:
            model = Gemma3ForCausalLM(
                make_gemma(
                    vocab_size=262_144, hidden_size=WIDTH, intermediate_size=MLP,
                    num_hidden_layers=18, num_attention_heads=HEADS, num_key_value_heads=1,
                    head_dim=HEAD_DIM, sliding_window=512,
                )
            )  # fmt: skip
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


PUBLISHED: dict[ValueLayout, Shapes] = {
    "value_model": bundle(),
    "big_vision": siglip("params/img") | pooling("params/img/MAPHead_0"),
    "deepmind_gemma": gemma("transformer", "/w"),
    "transformers_siglip": {},
    "transformers_gemma": {},
}
COUNTS: dict[ValueLayout, tuple[int, int, int]] = {
    "value_model": (241, 241 - 2 - 17 * 11, 683_191_609),
    "big_vision": (21 + 15, 21, 412_442_352),
    "deepmind_gemma": (200, 13, 268_098_176),
    "transformers_siglip": (27 * 16 + 5 + 11, 21, 412_442_352),
    "transformers_gemma": (18 * 13 + 3, 13, 268_098_176),
}
"""Arrays in the file; leaves of ours that they fill; their parameters."""


def unread(shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    dtype = np.dtype(np.float32)
    return Weights({name: Stored(shape, dtype) for name, shape in shapes.items()}, lambda _: {})


@pytest.mark.parametrize("layout", COUNTS)
def test_every_published_name_has_its_place(layout: ValueLayout) -> None:
    """The whole list fills whole parts of the model; what is left over is the pooling head."""
    shapes = PUBLISHED[layout] or transformers(layout)

    match = match_weights([(Place(Path("there"), layout), unread(shapes))], VALUE_670M)

    found = match.report.sources[0]
    assert (len(shapes), found.num_leaves, found.num_params) == COUNTS[layout]
    unused = {"big_vision": 15, "transformers_siglip": 11, "transformers_gemma": 1}
    assert found.num_unused == unused.get(layout, 0)
    if layout == "value_model":
        assert match.fresh == ()
        whole = VALUE_670M.model_copy(update={"image_head": True})
        match = match_weights([(Place(Path("there"), layout), unread(shapes))], whole)
        assert (match.report.sources[0].num_leaves, match.fresh) == (54, ())
