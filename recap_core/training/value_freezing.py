"""Which leaves of a value model train (SPEC §8.4)."""

from typing import Any

import jax

from recap_core.config.stages import FreezeMode
from recap_core.config.value import ValueModelConfig
from recap_core.models.parameters import Params
from recap_core.training.state import Mask

_FROZEN_GROUPS: dict[FreezeMode, tuple[str, ...]] = {
    "none": (),
    "siglip_only": ("img",),
    "all_backbones": ("img", "llm"),
}


def trainable_value_leaves(config: ValueModelConfig, params: Params, freeze: FreezeMode) -> Mask:
    """Which leaves train; projections, cross-attention and the head always do.

    ``siglip_only`` freezes the top group ``img``, ``all_backbones`` also ``llm``. Where the
    language model has LoRA adapters, they train and its own weights do not, in every mode.

    Args:
        config: The value model.
        params: Its parameters, or their shapes.
        freeze: Frozen part.

    Returns:
        ``params``' structure with a bool per leaf.
    """
    frozen = set(_FROZEN_GROUPS[freeze])
    if config.gemma.lora is not None:
        frozen.add("llm")

    def trains(path: tuple[Any, ...], _: object) -> bool:
        group, leaf = str(path[0].key), str(path[-1].key)
        return group not in frozen or "lora" in leaf

    return jax.tree_util.tree_map_with_path(trains, params)
