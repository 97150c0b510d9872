"""Lerobot's own pi0.5, at the sizes of ``tiny.FULL``: the numerical peer of import and export."""

import inspect
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.core.checkpoints import tiny

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of lerobot's and its libraries' imports
    import torch
    from lerobot.policies import pi_gemma
    from lerobot.policies.pi05 import modeling_pi05
    from lerobot.policies.pi05.configuration_pi05 import PI05Config

VARIANTS = {"gemma_2b": tiny.FULL.vlm, "gemma_300m": tiny.FULL.expert}
"""Lerobot hard-codes the sizes behind its two names; here they are tiny."""


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lerobot build its modules at tiny sizes, which its settings do not allow."""

    def sizes(variant: str) -> Any:  # noqa: ANN401 - lerobot's own class
        config = VARIANTS[variant]
        fields = ("width", "depth", "mlp_dim", "num_heads", "num_kv_heads", "head_dim")
        return modeling_pi05.GemmaConfig(*(getattr(config, field) for field in fields))

    def small_paligemma(*, config: Any) -> torch.nn.Module:  # noqa: ANN401
        vision, siglip = config.vision_config, tiny.FULL.siglip
        vision.hidden_size = siglip.width
        vision.intermediate_size = siglip.mlp_dim
        vision.num_hidden_layers = siglip.depth
        vision.num_attention_heads = siglip.num_heads
        vision.projection_dim = config.text_config.hidden_size
        config.text_config.vocab_size = tiny.FULL.vocab_size
        return paligemma(config=config)

    def small_expert(*, config: Any) -> torch.nn.Module:  # noqa: ANN401
        config.vocab_size = tiny.FULL.vocab_size
        return expert(config=config)

    paligemma = modeling_pi05.PaliGemmaForConditionalGenerationWithPiGemma
    expert = modeling_pi05.PiGemmaForCausalLM
    monkeypatch.setattr(modeling_pi05, "get_gemma_config", sizes)
    monkeypatch.setattr(
        modeling_pi05, "PaliGemmaForConditionalGenerationWithPiGemma", small_paligemma
    )
    monkeypatch.setattr(modeling_pi05, "PiGemmaForCausalLM", small_expert)
    _tolerate_newer_transformers(monkeypatch, pi_gemma)


def _tolerate_newer_transformers(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Lerobot 0.6 wants transformers before 5.6, whose mask function took one argument more."""
    newer: Callable[..., Any] = module.create_causal_mask
    known = inspect.signature(newer).parameters

    def create_causal_mask(**arguments: Any) -> Any:  # noqa: ANN401
        return newer(**{name: value for name, value in arguments.items() if name in known})

    monkeypatch.setattr(module, "create_causal_mask", create_causal_mask)


def settings(**changes: Any) -> PI05Config:  # noqa: ANN401
    """Lerobot's configuration of ``tiny.policy()``."""
    model = tiny.FULL
    fields: dict[str, Any] = {
        "device": "cpu",
        "image_resolution": (model.image_px, model.image_px),
        "chunk_size": model.action_horizon,
        "n_action_steps": model.action_horizon,
        "max_action_dim": model.action_dim,
        "max_state_dim": model.action_dim,
        "tokenizer_max_length": model.max_token_len,
    }
    return PI05Config(**(fields | changes))


def build(seed: int) -> "modeling_pi05.PI05Policy":
    """A policy whose parameters all matter: normal with std 0.2."""
    policy = modeling_pi05.PI05Policy(settings())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return policy.eval()


def arguments() -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """``tiny.inputs()`` as lerobot takes them: images channels first, in token order."""
    inputs = tiny.inputs()

    def tensor(array: Any) -> torch.Tensor:  # noqa: ANN401 - a JAX array
        return torch.from_numpy(np.array(array))

    images = [tensor(inputs.images[view]).permute(0, 3, 1, 2) for view in tiny.FULL.views]
    masks = [tensor(inputs.image_masks[view]) for view in tiny.FULL.views]
    return images, masks, tensor(inputs.tokens).long(), tensor(inputs.token_mask)


def loss(policy: "modeling_pi05.PI05Policy", actions: Any, noise: Any, time: Any) -> Any:  # noqa: ANN401
    """Squared error per sample and step, of NumPy arrays."""
    chunk = [torch.from_numpy(array) for array in (actions, noise, time)]
    with torch.no_grad():
        return policy.model.forward(*arguments(), *chunk).mean(-1).numpy()


def actions(policy: "modeling_pi05.PI05Policy") -> Any:  # noqa: ANN401
    """What the policy does for ``tiny.inputs()`` from ``tiny.noise()``, in three steps."""
    noise = torch.from_numpy(tiny.noise())
    return policy.model.sample_actions(*arguments(), noise=noise, num_steps=3).numpy()


def has_vision_model_level() -> bool:
    """Whether this version of transformers names the vision tower's tensors as before 5.6."""
    return any("vision_tower.vision_model." in name for name in build(0).state_dict())
