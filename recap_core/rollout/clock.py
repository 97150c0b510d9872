"""Clocks."""


class FrameClock:
    """Simulated time: frame k of an episode happens at ``start_s + k / fps``."""

    def __init__(self, start_s: float, *, fps: int) -> None:
        self._start_s = start_s
        self._fps = fps
        self._frame = 0

    def now(self) -> float:
        """Unix time of the present frame, s."""
        return self._start_s + self._frame / self._fps

    def tick(self) -> None:
        """Go on to the next frame, without waiting."""
        self._frame += 1
