"""Value inference of a full-size model over videos, for a GPU: batch found, frames per second.

    python -m tests.benchmarks.values_full_size WORK [NUM_FRAMES] [full|tiny]

The model is random; its numbers mean nothing, its speed does. Prints one JSON object: the batch
that was found, frames per second, shares of the time spent waiting for images and for the device,
the rate of decoding alone, and the device's peak memory.
"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.inference import InferRuntime
from recap_core.config.policy import PromptConfig
from recap_core.config.sizes import TINY_VALUE, VALUE_670M
from recap_core.config.value import ValueConfig
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.models.value_model import ValueModel
from recap_core.training.compilation_cache import enable_compilation_cache
from recap_core.valuation.inference import Source, infer_values
from recap_core.valuation.observations import Feeding, Times, inputs_ahead
from recap_core.valuation.prediction import ValuePredictor
from tests.core.training import robot

EPISODE_LENGTH = 512


def dataset(root: Path, num_frames: int) -> FrameTable:
    """Episodes of 512 frames, three cameras at 224 px; made once."""
    if not root.exists():
        episodes = [SyntheticEpisode(length=EPISODE_LENGTH)] * -(-num_frames // EPISODE_LENGTH)
        write_synthetic_dataset(root, episodes, SyntheticRobot(image_px=224, fps=30))
    return read_frames(root)


def value_config(size: str, table: FrameTable) -> ValueConfig:
    """The published sizes, all views that the model has, and the small tokenizer."""
    model = (
        VALUE_670M if size == "full" else TINY_VALUE.model_copy(update={"views": VALUE_670M.views})
    )
    model = model.model_copy(update={"image_px": 224, "state_input": "none"})
    views = dict(zip(model.views, table.meta.cameras, strict=False))
    prompt = PromptConfig(tokenizer="tiny", advantage=False)
    return ValueConfig(model=model, embodiment=EmbodimentConfig(views=views), prompt=prompt)


def main(work: Path, num_frames: int, size: str) -> dict[str, float]:
    """Infer once, after one batch that compiles; then decode alone."""
    enable_compilation_cache(work / "xla")
    table = dataset(work / f"dataset-{num_frames}", num_frames)
    config = value_config(size, table)
    params = jax.jit(ValueModel(config.model).init)(jax.random.key(0))
    predictor = ValuePredictor(config, params, robot.value_transform(config), batch_size=None)
    source = Source(predictor, predictor.observations(table))
    values = work / f"values-{time.time_ns()}"
    began = time.perf_counter()
    metrics = infer_values(table, lambda: source, work=values, runtime=InferRuntime()).metrics
    wall_s = time.perf_counter() - began

    cameras, batch = source.observations.num_cameras, int(metrics["batch_size"])
    feeding = Feeding.with_threads(None, num_cameras=cameras, num_waiting=2)
    batches = np.array_split(np.arange(table.num_frames), -(-table.num_frames // batch))
    began = time.perf_counter()
    num_fed = sum(len(f) for f, _ in inputs_ahead(source.observations, batches, feeding, Times()))
    feed_per_s = num_fed / (time.perf_counter() - began)
    stats = jax.devices()[0].memory_stats() or {}
    peak_gb = stats.get("peak_bytes_in_use", 0) / 1e9
    return metrics | {"wall_s": wall_s, "feed_per_s": feed_per_s, "peak_gb": peak_gb}


if __name__ == "__main__":
    root, count, size = [*sys.argv[1:], *("16384", "full")[len(sys.argv) - 2 :]]
    found = main(Path(root), int(count), size)
    sys.stdout.write(json.dumps(found) + "\n")
