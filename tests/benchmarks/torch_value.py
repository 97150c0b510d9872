"""The value model in PyTorch, of transformers' modules, with weights copied from ours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import Gemma3TextConfig, Gemma3TextModel, SiglipVisionConfig, SiglipVisionModel

from recap_core.config.value import ValueModelConfig
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueInputs


class TorchValueModel(nn.Module):
    """SigLIP, cross-attention and bidirectional Gemma 3 under the same head."""

    def __init__(self, config: ValueModelConfig, *, attention: str = "sdpa") -> None:
        super().__init__()
        self.config = config
        gemma, siglip, width = config.gemma, config.siglip, config.gemma.width
        make_vision: Any = SiglipVisionConfig
        make_text: Any = Gemma3TextConfig
        self.img = SiglipVisionModel(
            make_vision(
                hidden_size=siglip.width,
                intermediate_size=siglip.mlp_dim,
                num_hidden_layers=siglip.depth,
                num_attention_heads=siglip.num_heads,
                image_size=config.image_px,
                patch_size=siglip.patch_px,
                vision_use_head=False,
                attn_implementation=attention,
            )
        )
        self.llm = Gemma3TextModel(
            make_text(
                vocab_size=config.vocab_size,
                hidden_size=width,
                intermediate_size=gemma.mlp_dim,
                num_hidden_layers=gemma.depth,
                num_attention_heads=gemma.num_heads,
                num_key_value_heads=gemma.num_kv_heads,
                head_dim=gemma.head_dim,
                query_pre_attn_scalar=gemma.head_dim,
                sliding_window=gemma.sliding_window,
                sliding_window_pattern=gemma.global_every,
                use_cache=False,
                attn_implementation=attention,
            )
        )
        self.img_projection = nn.Linear(siglip.width, width)
        self.cross_attn_norm = nn.LayerNorm(width, eps=1e-6)
        self.cross_attention = nn.ModuleDict(
            {name: nn.Linear(width, width) for name in ("query", "key", "value", "out")}
        )
        self.value_head = nn.ModuleDict(
            {
                "layer_norm": nn.LayerNorm(width, eps=1e-6),
                "linear1": nn.Linear(width, config.head_hidden),
                "linear2": nn.Linear(config.head_hidden, config.num_bins),
            }
        )

    def logits(
        self,
        images: torch.Tensor,
        image_mask: torch.Tensor,
        tokens: torch.Tensor,
        token_mask: torch.Tensor,
        *,
        are_features: bool = False,
    ) -> torch.Tensor:
        """Logits, float32.

        Args:
            images: [b, v, 3, h, w] pixels, or [b, v, p, d] tokens of SigLIP where ``are_features``.
            image_mask: [b, v].
            tokens: [b, l].
            token_mask: [b, l].
            are_features: What ``images`` are.
        """
        b, v = image_mask.shape
        encoded = images
        if not are_features:
            encoded = self.img(images.flatten(0, 1)).last_hidden_state
        views = self.img_projection(encoded).reshape(b, -1, self.config.gemma.width)
        seen = image_mask.repeat_interleave(views.shape[1] // v, dim=1)
        text = self.llm.embed_tokens(tokens).detach()
        text = text + self._cross(self.cross_attn_norm(text), views, seen)
        x, valid = torch.cat([views, text], dim=1), torch.cat([seen, token_mask], dim=1)
        near = self._near(x.shape[1], x.device)
        visible = valid[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        masks: Any = {"full_attention": visible, "sliding_attention": visible & near}
        encoded = self.llm(inputs_embeds=x, attention_mask=masks).last_hidden_state.float()
        weight = valid.float()[:, :, None]
        mean = (encoded * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        return self._head(mean)

    def value(self, *inputs: torch.Tensor, are_features: bool = False) -> torch.Tensor:
        """V, float32."""
        logits = self.logits(*inputs, are_features=are_features)
        bins = torch.linspace(-1, 0, self.config.num_bins, device=logits.device)
        return functional.softmax(logits, dim=-1) @ bins

    def _cross(self, text: torch.Tensor, views: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        heads = self.config.cross_attention_heads
        q, k, v = (
            self.cross_attention[name](x).unflatten(-1, (heads, -1)).transpose(1, 2)
            for name, x in (("query", text), ("key", views), ("value", views))
        )
        mask = seen[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.cross_attention["out"](mixed.transpose(1, 2).flatten(2))

    def _head(self, mean: torch.Tensor) -> torch.Tensor:
        with torch.autocast(mean.device.type, enabled=False):
            normed = self.value_head["layer_norm"](mean)
            hidden = functional.gelu(self.value_head["linear1"](normed), approximate="tanh")
            return self.value_head["linear2"](hidden)

    def _near(self, length: int, device: torch.device) -> torch.Tensor:
        position = torch.arange(length, device=device)
        return (position[:, None] - position[None, :]).abs() < self.config.gemma.sliding_window


def torch_value_model(
    config: ValueModelConfig, params: Params, *, device: str, dtype: torch.dtype
) -> TorchValueModel:
    """A model with our NumPy ``params``, its weights in ``dtype`` and its head in float32."""
    with torch.device(device):
        model = TorchValueModel(config)
    named = {
        **_siglip(params["img"], config, model),
        **_gemma(params["llm"], config.gemma.depth),
        **_linear("img_projection", params["img_projection"]),
        **_norm("cross_attn_norm", params["cross_attn_norm"]),
        **_heads("cross_attention", params["cross_attention"]),
        **_norm("value_head.layer_norm", params["value_head"]["layer_norm"]),
        **_linear("value_head.linear1", params["value_head"]["linear1"]),
        **_linear("value_head.linear2", params["value_head"]["linear2"]),
    }
    parameters = dict(model.named_parameters())
    if set(named) != set(parameters):
        raise ValueError(f"weights differ: {sorted(set(named) ^ set(parameters))[:4]}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(named[name])))
            if not name.startswith("value_head"):
                parameter.data = parameter.data.to(dtype)  # buffers, the rotary ones, stay float32
    return model.eval()


def torch_inputs(
    inputs: ValueInputs, *, device: str, dtype: torch.dtype
) -> tuple[torch.Tensor, ...]:
    """Our NumPy inputs as the peer takes them; pixels, or features where there are any."""
    arrays = inputs.image_features or inputs.images
    stacked = np.stack([np.asarray(array, np.float32) for array in arrays.values()], axis=1)
    images = torch.from_numpy(stacked).to(device)
    if not inputs.image_features:
        images = images.permute(0, 1, 4, 2, 3).contiguous()
    masks = np.stack(list(inputs.image_masks.values()), axis=1)
    rest = (torch.from_numpy(np.asarray(a)).to(device) for a in (masks, inputs.tokens))
    token_mask = torch.from_numpy(np.asarray(inputs.token_mask)).to(device)
    mask, tokens = rest
    return images.to(dtype), mask, tokens.long(), token_mask


def torch_train_step(
    model: TorchValueModel,
    inputs: tuple[torch.Tensor, ...],
    targets: np.ndarray,
    *,
    frozen: tuple[str, ...],
    autocast: bool,
) -> Callable[[], torch.Tensor]:
    """One AdamW step per call, clipped like ours; returns the loss.

    Args:
        model: In float32. Groups of ``frozen`` are cast to bfloat16 where ``autocast``.
        inputs: As :func:`torch_inputs` makes them, features where SigLIP is left out.
        targets: Two-hot rows.
        frozen: ``img``, or ``img`` and ``llm``.
        autocast: Multiply in bfloat16.
    """
    model.train()
    model.llm.embed_tokens.weight.requires_grad = False  # has no gradient in ours either
    for group in frozen:
        for parameter in getattr(model, group).parameters():
            parameter.requires_grad = False
            if autocast:
                parameter.data = parameter.data.to(torch.bfloat16)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = inputs[0].device
    optimizer = torch.optim.AdamW(
        trained, lr=1e-5, betas=(0.9, 0.95), weight_decay=1e-10, fused=device.type == "cuda"
    )
    target = torch.from_numpy(targets).to(device)
    are_features = inputs[0].dim() == 4

    def step() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            logits = model.logits(*inputs, are_features=are_features)
        loss = -(target * functional.log_softmax(logits.float(), dim=-1)).sum(dim=-1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def _linear(name: str, params: Params) -> dict[str, np.ndarray]:
    return {f"{name}.weight": np.asarray(params["kernel"]).T, f"{name}.bias": params["bias"]}


def _norm(name: str, params: Params) -> dict[str, np.ndarray]:
    return {f"{name}.weight": params["scale"], f"{name}.bias": params["bias"]}


def _heads(name: str, params: Params, out: str = "out", suffix: str = "") -> dict[str, np.ndarray]:
    """Attention projections with a head axis, as plain linear layers."""
    width = len(params["out"]["bias"])
    named: dict[str, np.ndarray] = {}
    for ours, theirs in (("query", "query"), ("key", "key"), ("value", "value"), ("out", out)):
        flat = {
            "kernel": params[ours]["kernel"].reshape(width, width),
            "bias": params[ours]["bias"].reshape(width),
        }
        short = {"query": "q", "key": "k", "value": "v"}.get(theirs, theirs) if suffix else theirs
        named |= _linear(f"{name}.{short}{suffix}", flat)
    return named


def _siglip(
    params: Params, config: ValueModelConfig, model: TorchValueModel
) -> dict[str, np.ndarray]:
    # transformers 5 has dropped the inner module.
    root = "img.vision_model" if hasattr(model.img, "vision_model") else "img"
    embedding = params["embedding"]
    named = {
        f"{root}.embeddings.patch_embedding.weight": embedding["kernel"].transpose(3, 2, 0, 1),
        f"{root}.embeddings.patch_embedding.bias": embedding["bias"],
        f"{root}.embeddings.position_embedding.weight": params["pos_embedding"][0],
        **_norm(f"{root}.post_layernorm", params["Transformer"]["encoder_norm"]),
    }
    blocks = params["Transformer"]["encoderblock"]
    for i in range(config.siglip.depth):
        layer, block = f"{root}.encoder.layers.{i}", _layer(blocks, i)
        named |= _norm(f"{layer}.layer_norm1", block["LayerNorm_0"])
        named |= _norm(f"{layer}.layer_norm2", block["LayerNorm_1"])
        named |= _linear(f"{layer}.mlp.fc1", block["MlpBlock_0"]["Dense_0"])
        named |= _linear(f"{layer}.mlp.fc2", block["MlpBlock_0"]["Dense_1"])
        attention = block["MultiHeadDotProductAttention_0"]
        named |= _heads(f"{layer}.self_attn", attention, suffix="_proj")
    return named


def _gemma(params: Params, depth: int) -> dict[str, np.ndarray]:
    named = {
        "llm.embed_tokens.weight": params["embedder"]["input_embedding"],
        "llm.norm.weight": params["final_norm"]["scale"],
    }
    norms = {
        "input_layernorm": "pre_attention_norm",
        "post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "pre_ffw_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    }
    for i in range(depth):
        layer, block = f"llm.layers.{i}", _layer(params["layers"], i)
        attn, mlp = block["attn"], block["mlp"]
        named |= {
            f"{layer}.{theirs}.weight": block[ours]["scale"] for theirs, ours in norms.items()
        }
        named |= {
            f"{layer}.self_attn.q_proj.weight": _into_heads(attn["q_einsum"]["w"]),
            f"{layer}.self_attn.k_proj.weight": _into_heads(attn["kv_einsum"]["w"][0]),
            f"{layer}.self_attn.v_proj.weight": _into_heads(attn["kv_einsum"]["w"][1]),
            f"{layer}.self_attn.o_proj.weight": _flat_rows(attn["attn_vec_einsum"]["w"]).T,
            f"{layer}.self_attn.q_norm.weight": attn["query_norm"]["scale"],
            f"{layer}.self_attn.k_norm.weight": attn["key_norm"]["scale"],
            f"{layer}.mlp.gate_proj.weight": mlp["gating_einsum"][0].T,
            f"{layer}.mlp.up_proj.weight": mlp["gating_einsum"][1].T,
            f"{layer}.mlp.down_proj.weight": mlp["linear"].T,
        }
    return named


def _layer(stacked: Params, index: int) -> Params:
    return {
        name: _layer(value, index) if isinstance(value, dict) else value[index]
        for name, value in stacked.items()
    }


def _into_heads(weight: np.ndarray) -> np.ndarray:
    """[n, d, h] as a linear layer's [n h, d]."""
    return weight.swapaxes(1, 2).reshape(-1, weight.shape[1])


def _flat_rows(weight: np.ndarray) -> np.ndarray:
    return weight.reshape(-1, weight.shape[-1])
