"""V(o_t) of every frame of a dataset, resumable."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recap_core.data.frames import FrameTable
from recap_core.labels.two_hot import expectation
from recap_core.progress import Bar, Progress, Silent
from recap_core.valuation.prediction import ValuePredictor


def infer_values(  # noqa: PLR0913 - options are keyword-only
    table: FrameTable,
    predictor: ValuePredictor,
    *,
    work: Path,
    progress: Progress | None = None,
    label: str = "infer values",
    shard_frames: int = 20_000,
) -> Float32[np.ndarray, " n"]:
    """Values of all frames, by global index, each in [-1, 0].

    Whole episodes make up a shard; finished shards stay in ``work``, and a later call with the
    same dataset, model and ``shard_frames`` continues after them.

    Args:
        table: The dataset.
        predictor: The value model.
        work: Directory of this dataset and this model alone.
        progress: Who watches.
        label: Name of the work, for them.
        shard_frames: Least number of frames in a shard, but for the last one.
    """
    work.mkdir(parents=True, exist_ok=True)
    values = np.zeros(table.num_frames, np.float32)
    with (progress or Silent()).bar(label, table.num_frames) as bar:
        for episodes in _shards(table, shard_frames):
            first = int(table.episode_starts[episodes[0]])
            last = int(table.episode_ends[episodes[-1]])
            path = work / f"values_{first:09d}_{last:09d}.npy"
            if not path.is_file():
                _write(path, _shard_values(table, predictor, episodes, bar=bar))
            values[first:last] = np.load(path, allow_pickle=False)
            bar.update(last)
    return values


def _shards(table: FrameTable, shard_frames: int) -> Iterator[range]:
    first = 0
    for episode, end in enumerate(table.episode_ends):
        is_last = episode == len(table.episode_ends) - 1
        if is_last or end - table.episode_starts[first] >= shard_frames:
            yield range(first, episode + 1)
            first = episode + 1


def _shard_values(
    table: FrameTable, predictor: ValuePredictor, episodes: range, *, bar: Bar
) -> Float32[np.ndarray, " n"]:
    parts = []
    for batch in predictor.predictions(table, episodes):
        # Sums of probabilities round; values outside [-1, 0] do not exist.
        parts.append(np.clip(expectation(batch.probs), -1, 0).astype(np.float32))
        bar.update(int(batch.indices[-1]) + 1)
    return np.concatenate(parts)


def _write(path: Path, values: Float32[np.ndarray, " n"]) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    with temporary.open("wb") as file:
        np.save(file, values)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
