"""Rates of value inference, ours and a plain loop's, in a process of its own; printed as JSON.

    python value_rates.py DATASET WORK

A process of its own, because tests compile without optimisation, and because a ``DataLoader``'s
workers are forked.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from torch.utils.data import DataLoader, Subset

from recap_core.config.inference import InferRuntime
from recap_core.config.policy import SiglipConfig
from recap_core.config.value import ValueConfig
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.lerobot_bridge import open_dataset
from recap_core.models.value_model import ValueModel
from recap_core.valuation.inference import Source, infer_values
from recap_core.valuation.observations import Feeding, Times, inputs_ahead
from recap_core.valuation.prediction import ValuePredictor
from tests.core.training import robot

NUM_ROUNDS = 5
BATCH = 32
NUM_OURS, NUM_THEIRS = 1024, 128
"""Frames per round."""
VIEWS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")


def tiny_config(table: FrameTable) -> ValueConfig:
    """Three views of 224 px in patches of 112, and one layer each."""
    siglip = SiglipConfig(width=8, depth=1, mlp_dim=8, num_heads=1, patch_px=112)
    value = robot.train_value_config(
        views=VIEWS, siglip=siglip, image_px=224, state_input="none"
    ).value
    views = dict(zip(VIEWS, table.meta.cameras, strict=True))
    embodiment = value.embodiment.model_copy(update={"views": views})
    return value.model_copy(update={"embodiment": embodiment})


class Ours:
    """Our inference, and its feed alone."""

    def __init__(self, table: FrameTable, config: ValueConfig, params: Any, work: Path) -> None:  # noqa: ANN401 - a tree
        transform = robot.value_transform(config)
        predictor = ValuePredictor(config, params, transform, batch_size=BATCH)
        self._source = Source(predictor, predictor.observations(table))
        self._table, self._work = table, work
        self.splits: list[dict[str, float]] = []

    def values(self) -> int:
        """Infer, and store; the number of frames."""
        wanted = np.arange(self._table.num_frames) < NUM_OURS
        inferred = infer_values(
            self._table,
            lambda: self._source,
            work=self._work / f"{len(self.splits)}",
            is_wanted=wanted,
            runtime=InferRuntime(batch_size=BATCH),
        )
        self.splits.append(inferred.metrics)
        return NUM_OURS

    def feed(self) -> int:
        """Make every batch's inputs; the number of frames."""
        batches = [np.arange(start, start + BATCH) for start in range(0, NUM_OURS, BATCH)]
        cameras = self._source.observations.num_cameras
        feeding = Feeding.with_threads(None, num_cameras=cameras, num_waiting=2)
        made = inputs_ahead(self._source.observations, batches, feeding, Times())
        return sum(len(frames) for frames, _ in made)


class Theirs:
    """``LeRobotDataset[i]`` in order through a ``DataLoader``, and the model's jitted function."""

    def __init__(self, dataset: Any, config: ValueConfig, params: Any, num_workers: int) -> None:  # noqa: ANN401 - lerobot's, and a tree
        more: dict[str, Any] = {}
        if num_workers:
            more = {"multiprocessing_context": "forkserver", "persistent_workers": True}
        subset = Subset(dataset, range(NUM_THEIRS))
        self._loader: Iterable[dict[str, Any]] = DataLoader(
            subset, batch_size=BATCH, num_workers=num_workers, **more
        )
        self._call = jax.jit(ValueModel(config.model).value)
        self._params, self._transform = params, robot.value_transform(config)
        self._cameras = list(config.embodiment.views.values())

    def values(self) -> int:
        """Infer; the number of frames."""
        num_rows = 0
        for batch in self._loader:
            images = {camera: batch[camera].numpy() for camera in self._cameras}
            inputs = self._transform.inputs(images, batch["task"])
            num_rows += len(np.asarray(self._call(self._params, inputs)))
        return num_rows

    def feed(self) -> int:
        """Go through the loader; the number of frames."""
        return sum(len(batch["index"]) for batch in self._loader)


def main(root: Path, work: Path) -> dict[str, float]:
    """Medians of interleaved rounds, since the machine's speed changes."""
    table = read_frames(root)
    config, dataset = tiny_config(table), open_dataset(root)
    params = ValueModel(config.model).init(jax.random.key(0))
    ours = Ours(table, config, params, work)
    plain, workers = (Theirs(dataset, config, params, number) for number in (0, 2))
    loops: dict[str, Callable[[], int]] = {
        "values": ours.values,
        "feed": ours.feed,
        "plain_values": plain.values,
        "plain_feed": plain.feed,
        "workers_values": workers.values,
        "workers_feed": workers.feed,
    }
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for name in ("values", "plain_values", "workers_values"):
        loops[name]()  # compiles, opens files, starts workers
    ours.splits = ours.splits[:1]
    for _ in range(NUM_ROUNDS):
        for name, loop in loops.items():
            began = time.perf_counter()
            num_rows = loop()
            rates[name].append(num_rows / (time.perf_counter() - began))
    found = {name: np.array(rate) for name, rate in rates.items()}
    told = {f"{name}_per_s": float(np.median(rate)) for name, rate in found.items()}
    for part in ("values", "feed"):
        for peer in ("plain", "workers"):
            ratio = np.median(found[part] / found[f"{peer}_{part}"])
            told[f"{part}_over_{peer}"] = float(ratio)
    for share in ("fetch_share", "device_share"):
        told[share] = float(np.median([metrics[share] for metrics in ours.splits]))
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
