"""A LoRA policy as a full one: every adapter folded into its weight."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recap_core.checkpoints.params import load_params
from recap_core.config.policy import PolicyConfig
from recap_core.errors import ConfigError
from recap_core.models.lora import merge_adapters
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy


def merged_params(path: Path, config: PolicyConfig) -> tuple[Params, PolicyConfig]:
    """Parameters of a full policy that computes what the LoRA policy in ``path`` does.

    Everything becomes float32: the weights that a LoRA training froze are bfloat16, which has too
    few digits for an adapter's small change. One layer at a time is merged, in place, so the host
    holds the parameters once.

    Args:
        path: Directory ``params`` of the policy.
        config: Its configuration.

    Returns:
        NumPy arrays, and the configuration without LoRA.

    Raises:
        ConfigError: If the policy has no adapters.
        CheckpointError: If the parameters cannot be read or do not fit the configuration.
    """
    model = config.model
    if model.vlm.lora is None and model.expert.lora is None:
        raise ConfigError(
            "there are no LoRA adapters to merge: the policy is a full one. Export it as it is."
        )
    like = jax.eval_shape(Policy(model).init, jax.random.key(0))
    params = load_params(path, like, dtype=jnp.float32)
    llm = params["PaliGemma"]["llm"]
    layers: dict[str, Any] = llm["layers"]
    full = _without_adapters(layers)
    for index in range(model.vlm.depth):
        one = jax.tree.map(lambda leaf, at=index: leaf[at : at + 1], layers)
        tree = {"PaliGemma": {"llm": {"layers": one}}}
        merged = merge_adapters(tree, model.vlm, model.expert)["PaliGemma"]["llm"]["layers"]
        jax.tree.map(lambda leaf, new, at=index: _put(leaf, at, new), full, merged)
    llm["layers"] = full
    plain = model.model_copy(
        update={
            "vlm": model.vlm.model_copy(update={"lora": None}),
            "expert": model.expert.model_copy(update={"lora": None}),
        }
    )
    return params, config.model_copy(update={"model": plain})


def _without_adapters(tree: Params) -> Params:
    return {
        name: _without_adapters(node) if isinstance(node, dict) else node
        for name, node in tree.items()
        if "lora" not in name
    }


def _put(leaf: np.ndarray, index: int, layer: Any) -> None:  # noqa: ANN401 - of either library
    leaf[index] = np.asarray(layer)[0]
