"""The video of one camera of one episode."""

from pathlib import Path

import av

from recap_core.arrays import Image
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
        image_px: Height and width; even, as yuv420p halves them.
    """

    def __init__(self, path: Path, *, fps: int, image_px: int) -> None:
        self._path = path
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=fps, options=ENCODER_OPTIONS)
        self._stream.width = self._stream.height = image_px
        self._stream.pix_fmt = "yuv420p"
        self._num_frames = 0
        self._num_packets = 0

    def write(self, image: Image) -> None:
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
        self._container.mux(packets)
