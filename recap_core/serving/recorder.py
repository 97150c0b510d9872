"""Requests and answers kept as files, for looking into what a robot saw and was told."""

import logging
import queue
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recap_core.errors import ConfigError
from recap_core.serving.statistics import ServingStatistics

logger = logging.getLogger(__name__)

_NAME = re.compile(r"step_(\d+)\.npz")
_MAX_WAITING = 8
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_MAX_KEY = 100


class Recorder:
    """Writes ``step_<number>.npz``: ``inputs/...`` and ``outputs/...``, without pickle.

    A thread of its own writes; where the disk is too slow, pairs are dropped and counted, so that
    serving never waits. Numbers go on after those that the directory has.

    Args:
        directory: Made if it does not exist.
        limit: Files that the directory may hold; then recording ends.
        statistics: Told what was recorded and dropped.

    Raises:
        ConfigError: If the directory cannot be written.
    """

    def __init__(self, directory: Path, *, limit: int, statistics: ServingStatistics) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for leftover in directory.glob(".step_*.partial"):
                leftover.unlink()
            (directory / ".writable").touch()
            (directory / ".writable").unlink()
        except OSError as error:
            raise ConfigError(
                f"requests cannot be recorded in {directory} ({error}). Choose another directory."
            ) from error
        self._directory = directory
        found = [_NAME.fullmatch(path.name) for path in directory.iterdir()]
        numbers = [int(match[1]) for match in found if match]
        self._next = max(numbers, default=-1) + 1
        self._left = limit - len(numbers)
        self._statistics = statistics
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(_MAX_WAITING)
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)
        self._thread.start()

    def record(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Keep one pair; returns at once. Its arrays may not be changed afterwards."""
        if self._left <= 0:
            return
        try:
            self._queue.put_nowait({"inputs": inputs, "outputs": outputs})
        except queue.Full:
            self._statistics.count("dropped_recordings_total")
            return
        self._left -= 1
        if not self._left:
            logger.warning("%s holds as many requests as allowed: recording ends", self._directory)

    def close(self) -> None:
        """Write what waits, and stop."""
        self._queue.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        while (pair := self._queue.get()) is not None:
            try:
                self._write(pair)
            except OSError as error:
                self._left = 0
                logger.error("recording in %s ends: %s", self._directory, error)  # noqa: TRY400
                return
            self._statistics.count("recorded_total")

    def _write(self, pair: Mapping[str, Any]) -> None:
        name = f"step_{self._next:06d}"
        self._next += 1
        draft = self._directory / f".{name}.partial"
        try:
            with draft.open("wb") as file:
                np.savez(file, **dict(_flat(pair)))  # pyright: ignore[reportArgumentType] # arrays
            draft.replace(self._directory / f"{name}.npz")
        finally:
            draft.unlink(missing_ok=True)


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Arrays by path; names are cut to harmless ones, because clients choose them."""
    for key, value in tree.items():
        path = prefix + _UNSAFE.sub("_", str(key)[:_MAX_KEY])
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}/")
            continue
        try:
            array = np.asarray(value)
        except ValueError:  # a ragged list
            continue
        if array.dtype.kind in "biufUSmM":
            yield path, array
