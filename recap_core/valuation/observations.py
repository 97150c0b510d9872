"""What a value model sees of frames, made ahead of the device by background threads."""

import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from recap_core.config.value import ValueConfig
from recap_core.data.frames import FrameTable
from recap_core.data.video import decode_frames
from recap_core.models.value_model import ValueInputs
from recap_core.transforms.value_transform import ValueTransform

type Frames = Int64[np.ndarray, " _"]
"""Global frame indices, rising."""


@runtime_checkable
class Observations(Protocol):
    """Where inputs come from: decoded videos, or features computed before.

    Called from several threads at once.
    """

    @property
    def num_cameras(self) -> int:
        """Videos that are open at once for one batch."""
        ...

    def __call__(self, frames: Frames) -> ValueInputs:
        """Inputs of ``frames``, as NumPy arrays; images are uint8, or in [-1, 1]."""
        ...


class VideoObservations:
    """Decoded videos, state and prompts of a dataset."""

    def __init__(self, table: FrameTable, config: ValueConfig, transform: ValueTransform) -> None:
        """Nothing is read yet.

        Args:
            table: The dataset.
            config: The model, and the robot that it sees.
            transform: From the dataset's observations to the model's.
        """
        model, views = config.model, config.embodiment.views
        self._table = table
        self._transform = transform
        self._image_px = model.image_px
        self._cameras = [views[view] for view in model.views if view in views]
        self._state = config.embodiment.state if model.reads_state else ()

    @property
    def num_cameras(self) -> int:
        """Cameras that the model sees."""
        return len(self._cameras)

    def __call__(self, frames: Frames) -> ValueInputs:
        """Inputs of ``frames``; runs of neighbours are decoded together, cameras in parallel.

        Raises:
            DataError: If the dataset lacks what the model sees.
        """
        table = self._table
        images = {}
        if self._cameras:
            images = decode_frames(table.meta, self._cameras, frames, image_px=self._image_px)
        state = {name: table.column(name)[frames] for name in self._state}
        prompts = [table.tasks[task] for task in table.task_index[frames]]
        return self._transform.inputs(state | images, prompts, as_uint8=True)


class Feeding(NamedTuple):
    """How far ahead of the device inputs are made."""

    num_threads: int = 1
    """Batches that are made at once; each decodes its cameras in parallel."""
    num_waiting: int = 2
    """Batches that wait, made, for the device."""

    @classmethod
    def with_threads(
        cls, decode_threads: int | None, *, num_cameras: int, num_waiting: int
    ) -> "Feeding":
        """So many batches at once that about ``decode_threads`` videos are decoded; None: CPUs."""
        threads = decode_threads or len(os.sched_getaffinity(0))
        return cls(max(threads // max(num_cameras, 1), 1), num_waiting)


class Times:
    """Where the time of an inference went, seconds; summed over calls."""

    def __init__(self) -> None:
        self.fetch_s = 0.0
        """Waiting for inputs: the device idles."""
        self.device_s = 0.0
        """Waiting for the device, and for the way to it."""

    @contextmanager
    def fetch(self) -> Generator[None]:
        """Count the body as waiting for inputs."""
        began = time.perf_counter()
        yield
        self.fetch_s += time.perf_counter() - began

    @contextmanager
    def device(self) -> Generator[None]:
        """Count the body as waiting for the device."""
        began = time.perf_counter()
        yield
        self.device_s += time.perf_counter() - began


def inputs_ahead(
    observations: Observations, batches: Iterable[Frames], feeding: Feeding, times: Times
) -> Iterator[tuple[Frames, ValueInputs]]:
    """The inputs of every batch, in order, made by threads while earlier ones are used."""
    waiting: deque[tuple[Frames, Future[ValueInputs]]] = deque()
    todo = iter(batches)
    threads = ThreadPoolExecutor(feeding.num_threads, thread_name_prefix="observations")
    try:
        while True:
            while len(waiting) < feeding.num_threads + feeding.num_waiting:
                frames = next(todo, None)
                if frames is None:
                    break
                waiting.append((frames, threads.submit(observations, frames)))
            if not waiting:
                return
            frames, made = waiting.popleft()
            with times.fetch():
                inputs = made.result()
            yield frames, inputs
    finally:
        threads.shutdown(cancel_futures=True)
