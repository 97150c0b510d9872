"""``config.json`` of transformers' SigLIP and Gemma 3 against a value model's sizes.

Shapes do not say how many heads SigLIP has, how far Gemma's local layers see or how fast its
positions turn; ``config.json`` does. transformers 5 writes ``rope_parameters``, 4 writes
``rope_theta`` and ``rope_local_base_freq``; what a file leaves out has the library's default.
"""

import json
from pathlib import Path
from typing import Any

from recap_core.checkpoints.policy_checkpoint import read_text
from recap_core.config.value import Gemma3Config, ValueModelConfig
from recap_core.errors import CheckpointError, IncompatibleError

CONFIG = "config.json"
_GELU = "gelu_pytorch_tanh"
_EPS = 1e-6


def check_siglip_config(path: Path, model: ValueModelConfig) -> None:
    """Raise IncompatibleError unless a SigLIP is the one of ``model``; names both numbers.

    Args:
        path: Directory of the model, or its safetensors file.
        model: Sizes.

    Raises:
        CheckpointError: If ``config.json`` is missing or cannot be read.
    """
    settings = _settings(path, "vision_config")
    siglip = model.siglip
    _compare(
        path,
        {
            "hidden_size": (settings.get("hidden_size", 768), siglip.width),
            "num_hidden_layers": (settings.get("num_hidden_layers", 12), siglip.depth),
            "intermediate_size": (settings.get("intermediate_size", 3072), siglip.mlp_dim),
            "num_attention_heads": (settings.get("num_attention_heads", 12), siglip.num_heads),
            "patch_size": (settings.get("patch_size", 16), siglip.patch_px),
            "image_size": (settings.get("image_size", 224), model.image_px),
            "layer_norm_eps": (settings.get("layer_norm_eps", _EPS), _EPS),
            "hidden_act": (settings.get("hidden_act", _GELU), _GELU),
        },
    )


def check_gemma_config(path: Path, model: ValueModelConfig) -> None:
    """Raise IncompatibleError unless a Gemma 3 is the one of ``model``; names both numbers.

    Args:
        path: Directory of the model, or its safetensors file.
        model: Sizes.

    Raises:
        CheckpointError: If ``config.json`` is missing or cannot be read.
    """
    settings = _settings(path, "text_config")
    gemma = model.gemma
    head_dim = settings.get("head_dim", 256)
    _compare(
        path,
        {
            "hidden_size": (settings.get("hidden_size", 2304), gemma.width),
            "num_hidden_layers": (settings.get("num_hidden_layers", 26), gemma.depth),
            "intermediate_size": (settings.get("intermediate_size", 9216), gemma.mlp_dim),
            "num_attention_heads": (settings.get("num_attention_heads", 8), gemma.num_heads),
            "num_key_value_heads": (settings.get("num_key_value_heads", 4), gemma.num_kv_heads),
            "head_dim": (head_dim, gemma.head_dim),
            "query_pre_attn_scalar": (settings.get("query_pre_attn_scalar", 256), gemma.head_dim),
            "sliding_window": (settings.get("sliding_window", 4096), gemma.sliding_window),
            "rms_norm_eps": (settings.get("rms_norm_eps", _EPS), _EPS),
            "hidden_activation": (settings.get("hidden_activation", _GELU), _GELU),
            "attn_logit_softcapping": (settings.get("attn_logit_softcapping"), None),
            "attention_bias": (settings.get("attention_bias", False), False),
            **_rope(settings, gemma),
            "layers that attend globally": (_global_layers(settings, gemma), _our_global(gemma)),
        },
    )


def _rope(settings: dict[str, Any], gemma: Gemma3Config) -> dict[str, tuple[Any, Any]]:
    """Bases of the global and the local layers, and the factor of the global ones."""
    parameters = settings.get("rope_parameters") or {}
    if "rope_theta" in parameters:  # one for all layers
        parameters = {"full_attention": parameters}
    whole = parameters.get("full_attention", {})
    local = parameters.get("sliding_attention", {})
    scaling = settings.get("rope_scaling") or {}
    theta = whole.get("rope_theta", settings.get("rope_theta", 1_000_000.0))
    near = local.get("rope_theta", settings.get("rope_local_base_freq", 10_000.0))
    kind = whole.get("rope_type", scaling.get("rope_type", scaling.get("type", "default")))
    factor = whole.get("factor", scaling.get("factor", 1.0))
    return {
        "rope base of global layers": (theta, gemma.global_rope_base),
        "rope base of local layers": (near, gemma.local_rope_base),
        "rope scaling": (1.0 if kind == "default" else factor, 1.0),
    }


def _global_layers(settings: dict[str, Any], gemma: Gemma3Config) -> list[int]:
    types = settings.get("layer_types")
    if types is None:
        every = settings.get("sliding_window_pattern", settings.get("_sliding_window_pattern", 6))
        return [i for i in range(gemma.depth) if (i + 1) % every == 0]
    return [i for i, kind in enumerate(types) if kind == "full_attention"]


def _our_global(gemma: Gemma3Config) -> list[int]:
    return [i for i in range(gemma.depth) if (i + 1) % gemma.global_every == 0]


def _settings(path: Path, part: str) -> dict[str, Any]:
    """The settings of one tower: those below ``part`` where there are two towers."""
    file = (path if path.is_dir() else path.parent) / CONFIG
    if not file.is_file():
        raise CheckpointError(
            f"{file} is missing; the tensors alone do not say how they are used. Download it from "
            "where they come from, and put it beside them."
        )
    try:
        whole = dict(json.loads(read_text(file)))
        return dict(whole.get(part, whole))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}). Download it again.") from error


def _compare(path: Path, found: dict[str, tuple[Any, Any]]) -> None:
    wrong = [
        f"{name} is {theirs}, the model has {ours}"
        for name, (theirs, ours) in found.items()
        if theirs != ours
    ]
    if wrong:
        raise IncompatibleError(
            f"{path} is not what the model is made of: {'; '.join(wrong)}. Take the weights that "
            "belong to this size, or say the sizes of these with --config."
        )
