"""The inputs of ``models.npz`` and ``steps.npz``: plain arrays, for the reference and for us."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.golden.openpi import draws

SEED = 2029
VIEWS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
VARIATIONS = (
    "plain", "absent_wrists", "absent_base", "no_text", "full_text", "holes", "only_text", "empty",
    "flat_images", "other_tokens", "time_ends",
)  # fmt: skip
STEP_COUNTS = (1, 2, 3, 7, 16)


class Case(NamedTuple):
    """A model of the tiny architecture; LoRA as (rank, alpha)."""

    pi05: bool = True
    vlm_lora: tuple[int, float] | None = None
    expert_lora: tuple[int, float] | None = None
    rslora: bool = False
    batch: int = 2
    action_horizon: int = 8
    action_dim: int = 32
    max_token_len: int = 200


MODELS = {
    "pi05": Case(),
    "lora_both": Case(vlm_lora=(4, 4.0), expert_lora=(6, 6.0)),
    "lora_vlm": Case(vlm_lora=(4, 4.0)),
    "lora_expert": Case(expert_lora=(6, 6.0)),
    "lora_alpha": Case(vlm_lora=(4, 10.0), expert_lora=(6, 3.0)),
    "lora_rank_stabilised": Case(vlm_lora=(4, 8.0), expert_lora=(9, 6.0), rslora=True),
    "pi0": Case(pi05=False, max_token_len=48),
    "pi0_lora": Case(pi05=False, vlm_lora=(4, 4.0), expert_lora=(6, 6.0), max_token_len=48),
    "small": Case(batch=3, action_horizon=3, action_dim=7, max_token_len=16),
    "long": Case(batch=1, action_horizon=50, max_token_len=203),
    "pi0_small": Case(pi05=False, batch=3, action_horizon=1, action_dim=10, max_token_len=5),
}


def inputs(name: str) -> dict[str, Any]:
    """Observation, actions, noise, time and sampling noise of a model; images uint8."""
    case = MODELS[name]
    b, length = case.batch, case.max_token_len
    num_tokens = draws.integers(SEED, f"{name}/num_tokens", (b, 1), 1, length + 1)
    chunk = (b, case.action_horizon, case.action_dim)
    return {
        "image": {
            view: np.stack([draws.picture(SEED, f"{view}/{i}", 224, 224) for i in range(b)])
            for view in VIEWS
        },
        "image_mask": {view: np.arange(b) != (1 if view == VIEWS[2] else -1) for view in VIEWS},
        "state": draws.normals(SEED, f"{name}/state", (b, case.action_dim)),
        "tokens": draws.integers(SEED, f"{name}/tokens", (b, length), 0, 512),
        "token_mask": np.arange(length) < num_tokens,
        "actions": draws.normals(SEED, f"{name}/actions", chunk),
        "noise": draws.normals(SEED, f"{name}/noise", chunk),
        "sample_noise": draws.normals(SEED, f"{name}/sample_noise", chunk),
        "time": draws.uniforms(SEED, f"{name}/time", (b,), 0.001, 1.0),
    }


def varied(variation: str) -> dict[str, Any]:
    """The inputs of ``pi05`` with one thing changed."""
    none, first, both = np.zeros(2, bool), np.array([True, False]), np.ones(2, bool)
    found = inputs("pi05")
    token_mask = found["token_mask"]
    image_masks = {
        "absent_wrists": dict(zip(VIEWS, (both, none, none), strict=True)),
        "absent_base": dict(zip(VIEWS, (first, both, both), strict=True)),
        "only_text": dict.fromkeys(VIEWS, none),
        "empty": dict.fromkeys(VIEWS, first),
    }
    token_masks = {
        "no_text": np.zeros((2, 200), bool),
        "full_text": np.ones((2, 200), bool),
        "holes": draws.integers(SEED, "holes", (2, 200), 0, 2).astype(bool),
        "empty": token_mask & first[:, None],
    }
    flat = [np.full((2, 224, 224, 3), shade, np.uint8) for shade in (0, 255, 128)]
    changes: dict[str, dict[str, Any]] = {
        "flat_images": {"image": dict(zip(VIEWS, flat, strict=True))},
        "other_tokens": {"tokens": np.tile(np.array([0, 511], np.int32), (2, 100))},
        "time_ends": {"time": np.array([0.001, 1.0], np.float32)},
    }
    masks = {
        "image_mask": image_masks.get(variation, found["image_mask"]),
        "token_mask": token_masks.get(variation, token_mask),
    }
    return found | masks | changes.get(variation, {})


def params(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The stored tiny parameters where they fit, drawn ones elsewhere, by ``/``-joined path."""
    with np.load(Path(__file__).parent / "pi05_tiny_params.npz", allow_pickle=False) as stored:
        return draws.params_like(SEED, shapes, dict(stored))


class Steps(NamedTuple):
    """Three optimiser steps of openpi's ``train_step``."""

    model: str
    ema_decay: float | None = 0.99
    augment: bool = False
    clip_norm: float = 1.0
    seed: int = 17


PEAK_LR, END_LR, WARMUP_STEPS, DECAY_STEPS = 5e-3, 1e-4, 2, 5
WEIGHT_DECAY = 0.1
NUM_STEPS = 3
NUM_ENTRIES = 6
STEPS = {
    "full": Steps("pi05"),
    "full_augmented": Steps("pi05", augment=True),
    "full_clipped": Steps("pi05", ema_decay=None, clip_norm=0.2),
    "lora": Steps("lora_both", ema_decay=None),
    "lora_expert": Steps("lora_expert", ema_decay=0.9),
    "pi0": Steps("pi0"),
}


def entries(path: str, size: int) -> np.ndarray:
    """Flat indices of the entries of a leaf that ``steps.npz`` holds."""
    return draws.integers(SEED, f"entries/{path}", (NUM_ENTRIES,), 0, size)
