"""The training stage on a small dataset with a camera, also as a process of its own.

    python -m tests.core.stages.policy_training HOME NUM_STEPS START [PROCESS COORDINATOR]

START is ``fresh``; or ``full``: adapters on a full model, which is trained for a step first; or
``ended``: as ``fresh``, and after three steps somebody ends the process.
"""

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recap_core.config.dataset import NormStatsConfig
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.policy import (
    GemmaConfig,
    LoraConfig,
    PolicyConfig,
    PolicyModelConfig,
    PromptConfig,
    SiglipConfig,
)
from recap_core.config.stages import TrainPolicyConfig
from recap_core.config.training import (
    AugmentConfig,
    FrozenArmsConfig,
    OptimizerConfig,
    TrainConfig,
    TrainRuntime,
)
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_dataset
from recap_core.lineage.artifacts import Dataset, NormStats, PolicyCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Bar, Progress
from recap_core.stages.norm_stats import compute_norm_stats
from recap_core.stages.registry import CONVERT, NoSettings
from recap_core.stages.train_policy import train_policy

EMBODIMENT = EmbodimentConfig(
    views={"base_0_rgb": "observation.images.head_camera"}, delta_mask=(1, -1, 1, -1)
)
_GEMMA = GemmaConfig(width=16, depth=2, mlp_dim=16, num_heads=2, num_kv_heads=1, head_dim=8)
MODEL = PolicyModelConfig(
    vlm=_GEMMA,
    expert=_GEMMA.model_copy(update={"width": 8}),
    siglip=SiglipConfig(width=8, depth=1, mlp_dim=8, num_heads=1),
    vocab_size=400,
    views=("base_0_rgb",),
    image_px=28,
    action_dim=6,
    action_horizon=3,
    max_token_len=48,
)
LORA = LoraConfig(rank=2, alpha=2)
PLAIN: dict[str, Any] = {
    "augment": None,
    "loss_weight": "plain",
    "mask_padded_actions": False,
    "mask_padded_dims": False,
    "negatives": "conditioned",
    "frozen_arms": None,
}
"""No option of the loss: it compiles in half of the time."""
ADAPTED = MODEL.model_copy(
    update={
        "vlm": MODEL.vlm.model_copy(update={"lora": LORA}),
        "expert": MODEL.expert.model_copy(update={"lora": LORA}),
    }
)
RUNTIME = TrainRuntime(log_interval=1, micro_batches=2)


def config(model: PolicyModelConfig, num_steps: int, **changes: Any) -> TrainPolicyConfig:  # noqa: ANN401 - fields
    """Every option of the loss at once."""
    train = TrainConfig(
        num_steps=num_steps,
        batch_size=4,
        ema_decay=None,
        optimizer=OptimizerConfig(peak_lr=1e-3, warmup_steps=1, decay_steps=100),
        augment=AugmentConfig(),
        loss_weight="reference_time",
        mask_padded_actions=True,
        mask_padded_dims=True,
        negatives="unconditional",
        frozen_arms=FrozenArmsConfig(arms=((0, 2), (2, 4))),
    ).model_copy(update=changes)
    policy = PolicyConfig(model=model, embodiment=EMBODIMENT, prompt=PromptConfig(tokenizer="tiny"))
    return TrainPolicyConfig(policy=policy, train=train)


def inputs(store: Store) -> tuple[Dataset, NormStats]:
    """A dataset of 46 frames, and its norm stats."""

    def build(area: Build) -> Built:
        robot = SyntheticRobot(num_joints=1, cameras=("head_camera",))
        return Built(write_synthetic_dataset(area.output, robot=robot)._asdict())

    dataset = store.produce(CONVERT, NoSettings(), {}, name="data", build=build)
    stats = NormStatsConfig(embodiment=EMBODIMENT, action_horizon=MODEL.action_horizon)
    return dataset, compute_norm_stats(dataset, stats, name="stats", store=store)


class _Ends:
    """Somebody who watches the training, and ends its process once three steps are told."""

    def __init__(self) -> None:
        self._is_training = False

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """Itself."""
        del total, done
        self._is_training = label.startswith("train ")
        yield self

    def update(self, done: int, note: str = "") -> None:
        """Send one SIGTERM, or none."""
        del note
        if self._is_training and done >= 3:
            self._is_training = False
            os.kill(os.getpid(), signal.SIGTERM)


def trained(
    store: Store,
    model: PolicyModelConfig,
    num_steps: int,
    *,
    start: PolicyCheckpoint | None = None,
    runtime: TrainRuntime = RUNTIME,
    progress: Progress | None = None,
    **changes: Any,  # noqa: ANN401 - fields
) -> PolicyCheckpoint:
    """The stage."""
    dataset, stats = inputs(store)
    return train_policy(
        dataset,
        stats,
        start,
        config(model, num_steps, **changes),
        name="policy",
        store=store,
        runtime=runtime,
        progress=progress,
    )


def main(home: str, num_steps: str, start: str, process: str = "", coordinator: str = "") -> None:
    """Train, and say the id of the result."""
    store, runtime = Store(Path(home)), RUNTIME
    if coordinator:
        hosts = {"coordinator": coordinator, "num_processes": 2, "process_id": int(process)}
        runtime = TrainRuntime.model_validate(hosts)
    first = trained(store, MODEL, 1) if start == "full" else None
    options = PLAIN if coordinator else {}
    options |= {"progress": _Ends()} if start == "ended" else {}
    model = MODEL if coordinator else ADAPTED
    policy = trained(store, model, int(num_steps), start=first, runtime=runtime, **options)
    Path(home, f"result{process}.txt").write_text(policy.id)


if __name__ == "__main__":
    main(*sys.argv[1:])
