"""Reads openpi's numbers (``tests/golden/openpi``) and builds the model they came from."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from recap_core.config.policy import GemmaConfig, LoraConfig, PolicyModelConfig, SiglipConfig

GOLDEN = Path(__file__).parents[2] / "golden" / "openpi"

TINY_SIGLIP = SiglipConfig(width=32, depth=2, mlp_dim=48, num_heads=4)
TINY_VLM = GemmaConfig(width=64, depth=3, mlp_dim=96, num_heads=4, num_kv_heads=1, head_dim=16)
TINY_EXPERT = TINY_VLM.model_copy(update={"width": 32, "mlp_dim": 48})


def load(name: str) -> dict[str, np.ndarray]:
    """All arrays of ``<name>.npz``."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def load_json(name: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """Content of ``<name>.json``."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """``{"a/b": x}`` as ``{"a": {"b": x}}``."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def tiny_model(**changes: Any) -> PolicyModelConfig:  # noqa: ANN401 - any field
    """The architecture of the golden numbers."""
    fields: dict[str, Any] = {
        "vlm": TINY_VLM,
        "expert": TINY_EXPERT,
        "siglip": TINY_SIGLIP,
        "vocab_size": 512,
        "action_horizon": 8,
        "max_token_len": 200,
        "compute_dtype": "float32",
    }
    return PolicyModelConfig(**(fields | changes))


def with_lora(config: PolicyModelConfig, **ranks: int) -> PolicyModelConfig:
    """``config`` with adapters of the given rank (alpha = rank) on ``vlm`` and/or ``expert``."""
    return config.model_copy(
        update={
            name: getattr(config, name).model_copy(
                update={"lora": LoraConfig(rank=rank, alpha=rank)}
            )
            for name, rank in ranks.items()
        }
    )
