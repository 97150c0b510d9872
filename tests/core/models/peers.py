"""The weights of transformers' SigLIP and Gemma 3 under our names."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Gemma3TextModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from recap_core.config.policy import SiglipConfig
from recap_core.config.value import Gemma3Config
from recap_core.models.parameters import Params


def random_siglip(config: SiglipConfig, *, image_px: int) -> SiglipVisionModel:
    """A random vision tower without transformers' pooling head."""
    torch.manual_seed(0)
    peer = SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=config.width,
            intermediate_size=config.mlp_dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.num_heads,
            image_size=image_px,
            patch_size=config.patch_px,
            vision_use_head=False,
        )
    ).eval()
    randomise(peer)
    return peer


def random_gemma3(config: Gemma3Config, *, vocab_size: int) -> Gemma3ForCausalLM:
    """A random language model, with norm scales away from zero."""
    torch.manual_seed(0)
    make_config: Any = Gemma3TextConfig  # some of its settings are undeclared
    peer = Gemma3ForCausalLM(
        make_config(
            vocab_size=vocab_size,
            hidden_size=config.width,
            intermediate_size=config.mlp_dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            query_pre_attn_scalar=config.head_dim,
            sliding_window=config.sliding_window,
            sliding_window_pattern=config.global_every,
            attn_implementation="eager",
        )
    ).eval()
    randomise(peer)
    return peer


def randomise(module: torch.nn.Module) -> None:
    """Normal weights of std 0.3 everywhere."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)


def siglip_params(peer: SiglipVisionModel, config: SiglipConfig) -> Params:
    """The peer's weights under our names."""
    state = {
        name.removeprefix("vision_model."): value.numpy()
        for name, value in peer.state_dict().items()
    }

    def stacked(name: str) -> np.ndarray:
        return np.stack([state[f"encoder.layers.{i}.{name}"] for i in range(config.depth)])

    def norm(name: str) -> Params:
        return {"scale": stacked(f"{name}.weight"), "bias": stacked(f"{name}.bias")}

    def linear(name: str) -> Params:
        kernel = stacked(f"{name}.weight").swapaxes(1, 2)
        return {"kernel": kernel, "bias": stacked(f"{name}.bias")}

    def heads(name: str) -> Params:
        flat = linear(f"self_attn.{name}")
        shape = (config.depth, -1, config.num_heads, config.width // config.num_heads)
        return {
            "kernel": flat["kernel"].reshape(shape),
            "bias": flat["bias"].reshape(config.depth, config.num_heads, -1),
        }

    out = linear("self_attn.out_proj")
    out["kernel"] = out["kernel"].reshape(config.depth, config.num_heads, -1, config.width)
    tree = {
        "embedding": {
            "kernel": state["embeddings.patch_embedding.weight"].transpose(2, 3, 1, 0),
            "bias": state["embeddings.patch_embedding.bias"],
        },
        "pos_embedding": state["embeddings.position_embedding.weight"][None],
        "Transformer": {
            "encoderblock": {
                "LayerNorm_0": norm("layer_norm1"),
                "LayerNorm_1": norm("layer_norm2"),
                "MultiHeadDotProductAttention_0": {
                    "query": heads("q_proj"),
                    "key": heads("k_proj"),
                    "value": heads("v_proj"),
                    "out": out,
                },
                "MlpBlock_0": {"Dense_0": linear("mlp.fc1"), "Dense_1": linear("mlp.fc2")},
            },
            "encoder_norm": {
                "scale": state["post_layernorm.weight"],
                "bias": state["post_layernorm.bias"],
            },
        },
    }
    return jax.tree.map(jnp.asarray, tree)


def gemma3_params(peer: Gemma3TextModel, config: Gemma3Config) -> Params:
    """The peer's weights under our names."""
    state: dict[str, Any] = {name: value.numpy() for name, value in peer.state_dict().items()}

    def stacked(name: str) -> np.ndarray:
        return np.stack([state[f"layers.{i}.{name}.weight"] for i in range(config.depth)])

    def heads(name: str) -> np.ndarray:
        weight = stacked(f"self_attn.{name}_proj")
        return weight.reshape(config.depth, -1, config.head_dim, config.width).swapaxes(2, 3)

    out = stacked("self_attn.o_proj").swapaxes(1, 2)
    tree = {
        "embedder": {"input_embedding": state["embed_tokens.weight"]},
        "layers": {
            "pre_attention_norm": {"scale": stacked("input_layernorm")},
            "attn": {
                "q_einsum": {"w": heads("q")},
                "kv_einsum": {"w": np.stack([heads("k"), heads("v")], axis=1)},
                "attn_vec_einsum": {
                    "w": out.reshape(config.depth, -1, config.head_dim, config.width)
                },
                "query_norm": {"scale": stacked("self_attn.q_norm")},
                "key_norm": {"scale": stacked("self_attn.k_norm")},
            },
            "post_attention_norm": {"scale": stacked("post_attention_layernorm")},
            "pre_ffw_norm": {"scale": stacked("pre_feedforward_layernorm")},
            "mlp": {
                "gating_einsum": np.stack(
                    [stacked("mlp.gate_proj"), stacked("mlp.up_proj")], axis=1
                ).swapaxes(2, 3),
                "linear": stacked("mlp.down_proj").swapaxes(1, 2),
            },
            "post_ffw_norm": {"scale": stacked("post_feedforward_layernorm")},
        },
        "final_norm": {"scale": state["norm.weight"]},
    }
    return jax.tree.map(jnp.asarray, tree)
