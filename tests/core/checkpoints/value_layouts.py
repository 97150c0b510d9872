"""A tiny value model, and files of it in the layouts that published weights come in.

The layouts are written out by hand, so that nothing here depends on the importers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from recap_core.checkpoints.trees import flatten, unflatten
from recap_core.config.policy import PromptConfig, SiglipConfig
from recap_core.config.value import Gemma3Config, ValueConfig, ValueModelConfig
from recap_core.models.value_model import ValueModel

MODEL = ValueModelConfig(
    gemma=Gemma3Config(
        width=24,
        depth=3,
        mlp_dim=40,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        sliding_window=4,
        global_every=3,
    ),
    siglip=SiglipConfig(width=18, depth=2, mlp_dim=32, num_heads=3, patch_px=7),
    vocab_size=50,
    views=("base_0_rgb",),
    image_px=14,
    cross_attention_heads=2,
    head_hidden=12,
    num_bins=11,
    max_token_len=5,
    compute_dtype="float32",
)
VALUE = ValueConfig(model=MODEL, prompt=PromptConfig(tokenizer="tiny", advantage=False))

type Arrays = dict[str, np.ndarray]


def random_params(seed: int = 0, model: ValueModelConfig = MODEL) -> Arrays:
    """Every leaf by path, normal with std 0.2."""
    rng = np.random.default_rng(seed)
    shapes = flatten(jax.eval_shape(ValueModel(model).init, jax.random.key(0)))
    return {
        path: 0.2 * rng.standard_normal(leaf.shape, np.float32) for path, leaf in shapes.items()
    }


def siglip(**changes: Any) -> SiglipVisionModel:  # noqa: ANN401
    """Transformers' encoder of that size; every tensor is random."""
    sizes = {
        "hidden_size": 18,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 14,
        "patch_size": 7,
    }
    make_config: Any = SiglipVisionConfig
    torch.manual_seed(1)
    return randomised(SiglipVisionModel(make_config(**(sizes | changes))))


def gemma(**changes: Any) -> Gemma3ForCausalLM:  # noqa: ANN401
    """Transformers' Gemma 3 of that size; every tensor is random."""
    sizes = {
        "vocab_size": 50,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "attn_implementation": "eager",
    }
    make_config: Any = Gemma3TextConfig  # some of its settings are undeclared
    torch.manual_seed(2)
    return randomised(Gemma3ForCausalLM(make_config(**(sizes | changes))))


def randomised[M: torch.nn.Module](model: M) -> M:
    """The same with normal weights of std 0.2, norms and biases too."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    return model.eval()


def tensors(model: torch.nn.Module) -> Arrays:
    """Its state as NumPy arrays."""
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def big_vision(model: SiglipVisionModel, *, scan: bool, prefix: str = "params/img/") -> Arrays:
    """Its weights under big_vision's names, with the other tower's beside them."""
    state = tensors(model)
    config = model.config
    heads = (config.num_attention_heads, config.hidden_size // config.num_attention_heads)

    def linear(name: str) -> Arrays:
        return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}

    def norm(name: str) -> Arrays:
        return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}

    def into_heads(name: str) -> Arrays:
        flat = linear(name)
        return {
            "kernel": flat["kernel"].reshape(-1, *heads),
            "bias": flat["bias"].reshape(heads),
        }

    def block(layer: str) -> dict[str, Any]:
        out = linear(f"{layer}.self_attn.out_proj")
        return {
            "LayerNorm_0": norm(f"{layer}.layer_norm1"),
            "MultiHeadDotProductAttention_0": {
                "query": into_heads(f"{layer}.self_attn.q_proj"),
                "key": into_heads(f"{layer}.self_attn.k_proj"),
                "value": into_heads(f"{layer}.self_attn.v_proj"),
                "out": {"kernel": out["kernel"].reshape(*heads, -1), "bias": out["bias"]},
            },
            "LayerNorm_1": norm(f"{layer}.layer_norm2"),
            "MlpBlock_0": {
                "Dense_0": linear(f"{layer}.mlp.fc1"),
                "Dense_1": linear(f"{layer}.mlp.fc2"),
            },
        }

    blocks = [block(f"encoder.layers.{i}") for i in range(config.num_hidden_layers)]
    stack: dict[str, Any] = {f"encoderblock_{i}": block for i, block in enumerate(blocks)}
    if scan:
        stack = {"encoderblock": jax.tree.map(lambda *layers: np.stack(layers), *blocks)}
    patches = "embeddings.patch_embedding"
    tree = {
        "embedding": {
            "kernel": state[f"{patches}.weight"].transpose(2, 3, 1, 0),
            "bias": state[f"{patches}.bias"],
        },
        "pos_embedding": state["embeddings.position_embedding.weight"][None],
        "Transformer": {**stack, "encoder_norm": norm("post_layernorm")},
        "MAPHead_0": {"probe": state["head.probe"]},
    }
    ours = {f"{prefix}{path}": leaf for path, leaf in flatten(tree).items()}
    return {**ours, "params/txt/Embed_0/embedding": np.zeros((4, 3), np.float32),
            "params/t": np.zeros(1, np.float32)}  # fmt: skip


def deepmind(model: Gemma3ForCausalLM) -> dict[str, dict[str, np.ndarray]]:
    """Its weights as DeepMind publishes them: flat keys, one level of names below."""
    state = {name.removeprefix("model."): array for name, array in tensors(model).items()}
    config = model.config
    width, head_dim = config.hidden_size, config.head_dim

    def heads(name: str) -> np.ndarray:
        return state[f"{name}.weight"].reshape(-1, head_dim, width).transpose(0, 2, 1)

    found: dict[str, dict[str, np.ndarray]] = {
        "transformer/embedder": {"input_embedding": state["embed_tokens.weight"]},
        "transformer/final_norm": {"scale": state["norm.weight"]},
        "SigLiPFromPatches_0/siglip_encoder/embedding": {"kernel": np.zeros((2, 2), np.float32)},
    }
    for i in range(config.num_hidden_layers):
        theirs, layer = f"layers.{i}", f"transformer/layer_{i}"
        attention, mlp = f"{theirs}.self_attn", f"{theirs}.mlp"
        out = state[f"{attention}.o_proj.weight"]
        gating = [state[f"{mlp}.{name}_proj.weight"] for name in ("gate", "up")]
        found |= {
            f"{layer}/attn/q_einsum": {"w": heads(f"{attention}.q_proj")},
            f"{layer}/attn/kv_einsum": {
                "w": np.stack([heads(f"{attention}.{name}_proj") for name in "kv"])
            },
            f"{layer}/attn/attn_vec_einsum": {
                "w": out.T.reshape(config.num_attention_heads, head_dim, width)
            },
            f"{layer}/attn/_query_norm": {"scale": state[f"{attention}.q_norm.weight"]},
            f"{layer}/attn/_key_norm": {"scale": state[f"{attention}.k_norm.weight"]},
            f"{layer}/mlp/gating_einsum": {"w": np.stack(gating)},
            f"{layer}/mlp/linear": {"w": state[f"{mlp}.down_proj.weight"].T},
        }
        for name, peer in (
            ("pre_attention_norm", "input_layernorm"),
            ("post_attention_norm", "post_attention_layernorm"),
            ("pre_ffw_norm", "pre_feedforward_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
        ):
            found[f"{layer}/{name}"] = {"scale": state[f"{theirs}.{peer}.weight"]}
    return found


def reference(params: Mapping[str, np.ndarray], *, nnx_values: bool = False) -> dict[str, Any]:
    """Our leaves as the reference's training names them: Gemma layer by layer, SigLIP stacked."""
    found: Arrays = {}
    for path, leaf in params.items():
        if not path.startswith("llm/layers/"):
            found[path] = leaf
            continue
        rest = path.removeprefix("llm/layers/")
        rest = rest.replace("query_norm", "_query_norm").replace("key_norm", "_key_norm")
        for i, layer in enumerate(leaf):
            transposed = layer.transpose(0, 2, 1) if rest == "mlp/gating_einsum" else layer
            found[f"llm/layer_{i}/{rest}"] = transposed
    if nnx_values:
        found = {f"{path}/value": leaf for path, leaf in found.items()}
    return unflatten(found)


def write_orbax(directory: Path, tree: Mapping[str, Any]) -> Path:
    """A checkpoint by plain Orbax calls, as the reference and DeepMind save theirs."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(directory.absolute(), dict(tree))
    return directory


def write_step(training: Path, step: int, params: Arrays, ema: Arrays, **options: bool) -> Path:
    """``step_%08d`` of the reference's value training."""
    tree = {
        "params": reference(params, **options),
        "ema_params": reference(ema, **options),
        "step": step,
    }
    return write_orbax(training / f"step_{step:08d}", tree)
