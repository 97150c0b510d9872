"""Our side of ``tests/golden/openpi/cases.py``: configurations, parameters and inputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from recap_core.config.policy import GemmaConfig, LoraConfig, PolicyModelConfig, SiglipConfig
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, PolicyInputs
from tests.golden.openpi import cases, draws

GOLDEN = Path(__file__).parents[2] / "golden" / "openpi"


def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of ``tests/golden/openpi/<name>.npz``."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as stored:
        return dict(stored)


def model_config(name: str, **changes: object) -> PolicyModelConfig:
    """The architecture of a model of ``cases.MODELS``, in float32 unless changed."""
    case = cases.MODELS[name]

    def lora(rank_alpha: tuple[int, float] | None) -> LoraConfig | None:
        if rank_alpha is None:
            return None
        rank, alpha = rank_alpha
        return LoraConfig(rank=rank, alpha=alpha, rank_stabilized=case.rslora)

    vlm = GemmaConfig(width=64, depth=3, mlp_dim=96, num_heads=4, num_kv_heads=1, head_dim=16)
    expert = {"width": 32, "mlp_dim": 48, "lora": lora(case.expert_lora)}
    config = PolicyModelConfig(
        vlm=vlm.model_copy(update={"lora": lora(case.vlm_lora)}),
        expert=vlm.model_copy(update=expert),
        siglip=SiglipConfig(width=32, depth=2, mlp_dim=48, num_heads=4),
        vocab_size=512,
        action_horizon=case.action_horizon,
        action_dim=case.action_dim,
        max_token_len=case.max_token_len,
        time_input="adarms" if case.pi05 else "concat",
        state_input="tokens" if case.pi05 else "continuous",
        compute_dtype="float32",
    )
    return config.model_copy(update=changes)


def shapes(config: PolicyModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every leaf, by path."""
    tree = jax.eval_shape(Policy(config).init, jax.random.key(0))
    leaves: dict[str, Any] = dict(flatten_dict(tree, sep="/"))
    return {path: leaf.shape for path, leaf in leaves.items()}


def params(name: str) -> Params:
    """The parameters that the reference ran with."""
    return nested(cases.params(shapes(model_config(name))))


def drawn_params(seed: int, config: PolicyModelConfig) -> Params:
    """Parameters where nothing was stored."""
    return nested(draws.leaves(seed, shapes(config)))


def nested(flat: Mapping[str, np.ndarray]) -> Params:
    """A tree of JAX arrays of a flat dict."""
    return jax.tree.map(jnp.asarray, unflatten_dict(dict(flat), sep="/"))


def policy_inputs(inputs: Mapping[str, Any]) -> PolicyInputs:
    """Observations of ``cases.inputs`` as the model takes them."""
    pixels = {view: jnp.asarray(image, jnp.float32) for view, image in inputs["image"].items()}
    return PolicyInputs(
        {view: image / 255 * 2 - 1 for view, image in pixels.items()},
        {view: jnp.asarray(mask) for view, mask in inputs["image_mask"].items()},
        *(jnp.asarray(inputs[name]) for name in ("state", "tokens", "token_mask")),
    )
