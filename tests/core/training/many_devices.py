"""Trainings of one small model on several devices, in a process of their own.

    python -m tests.core.training.many_devices FOLDER RUNS [PROCESS COORDINATOR]

RUNS is JSON: a list of {name, work, num_steps, lora, runtime}. Every run writes
``FOLDER/<name>.npz``: the leaves of its final state by path, and a line of JSON: its metrics and
how many leaves are split.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from recap_core.config.policy import GemmaConfig, LoraConfig, PolicyModelConfig, SiglipConfig
from recap_core.config.training import OptimizerConfig, TrainConfig, TrainRuntime
from recap_core.data.shards import Shard
from recap_core.models.layers import LayerLoop
from recap_core.models.policy import Policy, PolicyInputs, trainable_mask
from recap_core.progress import read_metrics
from recap_core.sharding import batch_sharding, connect_hosts, on_host
from recap_core.training.compilation_cache import enable_compilation_cache
from recap_core.training.loop import train, training_mesh
from recap_core.training.policy_loss import PolicyBatch, policy_loss
from recap_core.training.state import ParamsSource, with_frozen_in_bfloat16

_GEMMA = GemmaConfig(width=16, depth=5, mlp_dim=32, num_heads=2, num_kv_heads=1, head_dim=8)
_MODEL = PolicyModelConfig(
    vlm=_GEMMA,
    expert=_GEMMA.model_copy(update={"mlp_dim": 16}),
    siglip=SiglipConfig(width=16, depth=2, mlp_dim=16, num_heads=2),
    vocab_size=64,
    views=("base_0_rgb", "left_wrist_0_rgb"),
    image_px=28,
    action_dim=4,
    action_horizon=3,
    max_token_len=6,
    state_input="none",
    compute_dtype="float32",
)
_BATCH_SIZE = 16
# Adam divides by the gradient's size: a large eps keeps rounding from turning a step around.
_OPTIMIZER = OptimizerConfig(peak_lr=0.02, warmup_steps=1, decay_steps=50, eps=1e-3)


class RandomBatches:
    """Noise to look at and to imitate; a function of the step, and of this process's rows."""

    def __init__(self, shard: Shard) -> None:
        self._rows = shard.rows(_BATCH_SIZE)

    def __call__(self, step: int) -> Any:  # noqa: ANN401 - NumPy arrays in place of JAX's
        """The batch of ``step``."""
        rng, b, px = np.random.default_rng(step), _BATCH_SIZE, _MODEL.image_px
        arrays: list[Any] = [
            {view: rng.uniform(-1, 1, (b, px, px, 3)).astype("f4") for view in _MODEL.views},
            {view: rng.random(b) < 0.8 for view in _MODEL.views},
            np.zeros((b, _MODEL.action_dim), "f4"),
            rng.integers(0, _MODEL.vocab_size, (b, _MODEL.max_token_len)).astype("i4"),
            np.arange(_MODEL.max_token_len) < rng.integers(2, _MODEL.max_token_len, (b, 1)),
        ]
        actions: Any = rng.standard_normal((b, 3, _MODEL.action_dim), "f4")
        classes: Any = rng.integers(0, 4, b).astype("i4")
        return jax.tree.map(
            lambda x: x[self._rows], PolicyBatch(PolicyInputs(*arrays), actions, classes)
        )

    def frames(self, step: int) -> np.ndarray:
        """Frames that do not exist."""
        del step
        return np.arange(_BATCH_SIZE)[self._rows]

    def places(self, step: int) -> np.ndarray:
        """All in one episode."""
        del step
        return np.stack([np.zeros(_BATCH_SIZE, int), np.arange(_BATCH_SIZE)], axis=1)


def _source(config: PolicyModelConfig, trainable: Any) -> ParamsSource:  # noqa: ANN401 - a mask
    shapes = jax.eval_shape(Policy(config).init, jax.random.key(0))

    def make(_: Any) -> Any:  # noqa: ANN401 - a tree
        rng = np.random.default_rng(7)
        draws = jax.tree.map(lambda x: 0.2 * rng.standard_normal(x.shape, np.float32), shapes)
        return with_frozen_in_bfloat16(draws, trainable)

    return ParamsSource(with_frozen_in_bfloat16(shapes, trainable), make)


def run(folder: Path, job: dict[str, Any], hosts: dict[str, Any]) -> None:
    """One training."""
    runtime = TrainRuntime.model_validate(
        {"log_interval": 1, "fsdp_min_bytes": 512} | job["runtime"] | hosts
    )
    lora = LoraConfig(rank=8, alpha=8) if job.get("lora") else None
    model = _MODEL.model_copy(
        update={
            name: getattr(_MODEL, name).model_copy(update={"lora": lora})
            for name in ("vlm", "expert")
        }
    )
    mask = trainable_mask(model, jax.eval_shape(Policy(model).init, jax.random.key(0)))
    loop = LayerLoop.of_depth(5, runtime.remat, split=batch_sharding(training_mesh(runtime)))
    config = TrainConfig(
        num_steps=job["num_steps"],
        batch_size=_BATCH_SIZE,
        optimizer=_OPTIMIZER,
        ema_decay=None if lora else 0.9,
    )
    state = train(
        policy_loss(Policy(model, loop=loop)),
        _source(model, mask),
        RandomBatches(Shard(jax.process_index(), jax.process_count())),
        config,
        runtime,
        work=folder / job["work"],
        trainable=mask,
    )
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    split = sum(not leaf.sharding.is_fully_replicated for _, leaf in leaves)
    arrays = {jax.tree_util.keystr(path): on_host(leaf) for path, leaf in leaves}
    if jax.process_index() == 0:
        # NumPy's files know no bfloat16.
        known: dict[str, Any] = {
            path: x.astype("f4") if x.dtype.name == "bfloat16" else x for path, x in arrays.items()
        }
        np.savez(folder / f"{job['name']}.npz", **known)
        rows = read_metrics(folder / job["work"] / "metrics.jsonl")
        report = {"split": split, "metrics": rows}
        (folder / f"{job['name']}.json").write_text(json.dumps(report))


def main(folder: str, runs: str, process: str = "", coordinator: str = "") -> None:
    """All runs, one after the other."""
    hosts: dict[str, Any] = {}
    if coordinator:
        hosts = {"coordinator": coordinator, "num_processes": 2, "process_id": int(process)}
        connect_hosts(coordinator, 2, int(process))
    enable_compilation_cache(Path(folder) / f"xla{process}")
    for job in json.loads(runs):
        run(Path(folder), job, hosts)


if __name__ == "__main__":
    main(*sys.argv[1:])
