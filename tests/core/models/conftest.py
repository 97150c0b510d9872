"""openpi's reference numbers, and the architecture they came from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from recap_core.config.policy import GemmaConfig, PolicyModelConfig, SiglipConfig

type GoldenArrays = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def golden_arrays() -> GoldenArrays:
    """Reads all arrays of ``tests/golden/openpi/<name>.npz``."""

    def read(name: str) -> dict[str, np.ndarray]:
        path = Path(__file__).parents[2] / "golden" / "openpi" / f"{name}.npz"
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    return read


@pytest.fixture(scope="session")
def golden_params(golden_arrays: GoldenArrays) -> dict[str, Any]:
    """The reference's parameters, nested."""
    return jax.tree.map(jnp.asarray, unflatten_dict(golden_arrays("pi05_tiny_params"), sep="/"))


@pytest.fixture(scope="session")
def golden_model() -> PolicyModelConfig:
    """The architecture of the reference numbers."""
    vlm = GemmaConfig(width=64, depth=3, mlp_dim=96, num_heads=4, num_kv_heads=1, head_dim=16)
    return PolicyModelConfig(
        vlm=vlm,
        expert=vlm.model_copy(update={"width": 32, "mlp_dim": 48}),
        siglip=SiglipConfig(width=32, depth=2, mlp_dim=48, num_heads=4),
        vocab_size=512,
        action_horizon=8,
        max_token_len=200,
        compute_dtype="float32",
    )
