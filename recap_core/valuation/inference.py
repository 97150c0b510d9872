"""V(o_t) of a dataset's frames, resumable, by one process or several.

Batches are a grid over the wanted frames that no shard, device or worker moves: with the same batch
size every frame is computed beside the same others, by the same program, and its value is the same
bit by bit. Another batch size changes the order of sums in the compiled program, so values differ
by rounding: at most 2e-6 where the model computes in float32, 0.01 in bfloat16 (0.0035 was seen).
"""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int64

from recap_core.config.inference import InferRuntime
from recap_core.data.frames import FrameTable
from recap_core.labels.two_hot import expectation
from recap_core.lineage.locks import Claim
from recap_core.progress import Bar, Progress, Silent
from recap_core.valuation.observations import Feeding, Observations, Times
from recap_core.valuation.prediction import ValuePredictor
from recap_core.valuation.shards import Shard, ShardFiles, shards

_log = logging.getLogger(__name__)
_POLL_S = 0.2


class Source(NamedTuple):
    """A model on its devices, and what it sees of a dataset."""

    predictor: ValuePredictor
    observations: Observations


class Inferred(NamedTuple):
    """Values of a dataset, and how fast they were made."""

    values: Float32[np.ndarray, " n"]
    """By global index, in [-1, 0]; NaN on frames that were not wanted."""
    metrics: dict[str, float]


def infer_values(  # noqa: PLR0913 - options are keyword-only
    table: FrameTable,
    open_source: Callable[[], Source],
    *,
    work: Path,
    is_wanted: Bool[np.ndarray, " n"] | None = None,
    runtime: InferRuntime | None = None,
    progress: Progress | None = None,
    label: str = "infer values",
) -> Inferred:
    """Values of all wanted frames.

    Finished shards stay in ``work``; a later call with the same dataset, model and frames continues
    after them, and shards that other processes are at are waited for.

    Args:
        table: The dataset.
        open_source: Loads the model; not called if every shard is finished.
        work: Directory of this dataset, this model and these frames alone.
        is_wanted: Frames to infer; None: all.
        runtime: How it runs.
        progress: Who watches.
        label: Name of the work, for them.

    Raises:
        DataError: If the dataset lacks what the model sees, or the model gives no number.
    """
    wanted = _wanted(table, is_wanted)
    values = np.full(table.num_frames, np.nan, np.float32)
    files, runs = ShardFiles(work), runtime or InferRuntime()
    todo = shards(len(wanted), runs.shard_frames)
    with (progress or Silent()).bar(label, len(wanted)) as bar:
        share = _Share(files, wanted, open_source, runs, bar)
        while todo:
            share.compute(todo)
            left = []
            for shard in todo:
                found = files.read(shard)
                if found is None:
                    left.append(shard)
                else:
                    values[wanted[shard.first : shard.end]] = found
            if len(left) == len(todo):
                time.sleep(_POLL_S)  # others are at them
            todo = left
    return Inferred(values, share.metrics())


def infer_share(  # noqa: PLR0913 - options are keyword-only
    table: FrameTable,
    open_source: Callable[[], Source],
    *,
    work: Path,
    is_wanted: Bool[np.ndarray, " n"] | None = None,
    runtime: InferRuntime | None = None,
    progress: Progress | None = None,
    label: str = "infer values",
) -> dict[str, float]:
    """Compute the shards that nobody else is at; the others' may still be under way at the end.

    Args:
        table: As for :func:`infer_values`, as all of the following.
        open_source: Not called if there is nothing to do.
        work: Directory that all workers share.
        is_wanted: Frames to infer.
        runtime: How it runs.
        progress: Who watches.
        label: Name of the work, for them.

    Returns:
        How fast this one was.
    """
    wanted = _wanted(table, is_wanted)
    runs = runtime or InferRuntime()
    with (progress or Silent()).bar(label, len(wanted)) as bar:
        share = _Share(ShardFiles(work), wanted, open_source, runs, bar)
        share.compute(shards(len(wanted), runs.shard_frames))
        return share.metrics()


def _wanted(table: FrameTable, is_wanted: Bool[np.ndarray, " n"] | None) -> Int64[np.ndarray, " w"]:
    return np.arange(table.num_frames) if is_wanted is None else np.flatnonzero(is_wanted)


class _Share:
    """What one process computes."""

    def __init__(
        self,
        files: ShardFiles,
        wanted: Int64[np.ndarray, " w"],
        open_source: Callable[[], Source],
        runtime: InferRuntime,
        bar: Bar,
    ) -> None:
        self._files = files
        self._wanted = wanted
        self._open_source = open_source
        self._runtime = runtime
        self._bar = bar
        self._source: Source | None = None
        self._claims: dict[Shard, Claim] = {}
        self._num_done = 0
        self._rate = _Rate()

    def compute(self, todo: list[Shard]) -> None:
        """Compute the shards of ``todo`` that are neither finished nor claimed."""
        try:
            mine = self._claimed(todo)
            first = next(mine, None)
            if first is not None:
                self._run(first, mine)
        finally:
            for claim in self._claims.values():
                claim.release()
            self._claims.clear()

    def metrics(self) -> dict[str, float]:
        """Frames per second, shares of the time, and the batch size; none if nothing was done."""
        if self._source is None:
            return {}
        size = self._source.predictor.batch_size(self._source.observations, self._wanted)
        return self._rate.metrics() | {"batch_size": float(size)}

    def _claimed(self, todo: list[Shard]) -> Iterator[Shard]:
        """Shards of ``todo`` that are this process's to compute, claimed one by one."""
        for shard in todo:
            claim = None
            if self._files.read(shard) is None:
                claim = self._files.try_claim(shard)
                if claim is None:
                    continue
                # Again, now that nobody else can finish it.
                if self._files.read(shard) is None:
                    self._claims[shard] = claim
                    yield shard
                    continue
            if claim is not None:
                claim.release()
            self._add(shard.num_frames)

    def _run(self, first: Shard, others: Iterator[Shard]) -> None:
        source = self._source = self._source or self._open_source()
        predictor, observations = source
        rows = predictor.batch_size(observations, self._wanted) * predictor.num_devices
        feeding = Feeding.with_threads(
            self._runtime.decode_threads,
            num_cameras=observations.num_cameras,
            num_waiting=self._runtime.prefetch,
        )
        times = self._rate.times
        batches = self._batches(first, others, rows)
        parts: list[Float32[np.ndarray, " b"]] = []
        for found in predictor.of_batches(observations, batches, feeding=feeding, times=times):
            # Sums of probabilities round; values outside [-1, 0] do not exist.
            parts.append(np.clip(expectation(found.probs), -1, 0).astype(np.float32))
            self._rate.count(len(found.indices))
            self._add(len(found.indices))
            shard = next(iter(self._claims))  # the oldest, which is computed now
            if sum(map(len, parts)) == shard.num_frames:
                self._files.write(shard, np.concatenate(parts))
                self._claims.pop(shard).release()
                parts = []

    def _batches(
        self, first: Shard, others: Iterator[Shard], rows: int
    ) -> Iterator[Int64[np.ndarray, " b"]]:
        shard: Shard | None = first
        while shard is not None:
            for start in range(shard.first, shard.end, rows):
                yield self._wanted[start : min(start + rows, shard.end)]
            shard = next(others, None)

    def _add(self, num_frames: int) -> None:
        self._num_done += num_frames
        self._bar.update(self._num_done, self._rate.note())


class _Rate:
    """Frames per second since the first batch, which compiles."""

    def __init__(self) -> None:
        self.times = Times()
        self._since: float | None = None
        self._num_frames = 0

    def count(self, num_frames: int) -> None:
        """So many more are done."""
        if self._since is None:
            self._since = time.perf_counter()
            self.times.fetch_s = self.times.device_s = 0.0
            return
        self._num_frames += num_frames

    def metrics(self) -> dict[str, float]:
        """``frames_per_s``; ``fetch_share`` and ``device_share`` of the time went into waiting."""
        if self._since is None or not self._num_frames:
            return {}
        seconds = max(time.perf_counter() - self._since, 1e-9)
        return {
            "frames_per_s": self._num_frames / seconds,
            "fetch_share": self.times.fetch_s / seconds,
            "device_share": self.times.device_s / seconds,
        }

    def note(self) -> str:
        """The numbers, for a bar."""
        found = self.metrics()
        if not found:
            return ""
        waiting = f"{found['fetch_share']:.0%} fetch, {found['device_share']:.0%} device"
        return f"{found['frames_per_s']:,.0f} frames/s, {waiting}"
