"""The video of one camera of one episode."""

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from recap_core.errors import EpisodeError

ENCODER_OPTIONS = {
    "preset": "veryfast",
    "crf": "18",
    "g": "2",
    "bf": "0",
    "threads": "1",
    "x264-params": "mbtree=0:rc-lookahead=0:sync-lookahead=0",
}
"""A keyframe every other frame for random access; no B frames, so times are never shifted; no
lookahead, because with it x264 gives other bytes once in some hundred times for small images."""


class CameraVideo:
    """Encodes frames as they come: h264, yuv420p, one packet per frame.

    Encoding is synchronous, so no frame is ever dropped.

    Args:
        path: The ``.mp4`` to write.
        fps: Frames per second.
        height_px: Height of the images; even, as yuv420p halves it.
        width_px: Their width; even, too.
        options: Of the encoder.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: int,
        height_px: int,
        width_px: int,
        options: Mapping[str, str] = ENCODER_OPTIONS,
    ) -> None:
        self._path = path
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=fps, options=dict(options))
        self._stream.height, self._stream.width = height_px, width_px
        self._stream.pix_fmt = "yuv420p"
        self._num_frames = 0
        self._num_packets = 0
        self._num_bytes = 0

    @property
    def num_frames(self) -> int:
        """Frames so far."""
        return self._num_frames

    @property
    def num_bytes(self) -> int:
        """Bytes of the packets so far."""
        return self._num_bytes

    def write(self, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Append one image."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = self._num_frames
        self._num_frames += 1
        self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds.

        Raises:
            EpisodeError: If packets and frames disagree in number.
        """
        self._mux(self._stream.encode(None))
        self._container.close()
        if self._num_packets != self._num_frames:
            raise EpisodeError(
                f"{self._path} has {self._num_packets} packets for {self._num_frames} frames; "
                "every frame must be one packet. Record the episode again."
            )

    def abandon(self) -> None:
        """Close the file; what was written is of no use."""
        self._container.close()

    def _mux(self, packets: list[av.Packet]) -> None:
        self._num_packets += len(packets)
        self._num_bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)
