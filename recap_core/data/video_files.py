"""Single video files: what is in them, their frames, copies of their packets, new encodings.

Videos in a dataset are H.264, yuv420p, one constant frame rate, first frame at time 0.
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.frame import PictureType
from jaxtyping import Float64, UInt8

from recap_core.data.columns import Feature
from recap_core.data.feature_statistics import FeatureStatistics, ImageStatistics, sampled_frames
from recap_core.errors import EpisodeError

X264_OPTIONS = {
    "preset": "veryfast",
    "crf": "18",
    "threads": "1",
    "bf": "0",
    "x264-params": "mbtree=0:rc-lookahead=0:sync-lookahead=0",
}
"""One thread, no B-frames and no lookahead: the same frames give the same bytes. With lookahead
x264 gives other bytes about once in a thousand times for small images."""
LOSSLESS_OPTIONS = {"preset": "veryfast", "qp": "0", "threads": "1", "bf": "0"}
_READER_OPTIONS = {"format_whitelist": "mov,mp4,matroska,webm,avi", "protocol_whitelist": "file"}
"""No playlists: a file that calls itself a video must not make the reader open others."""
TIME_TOLERANCE_S = 1e-4
"""LeRobot's tolerance between a frame's time and its row's."""
KEYFRAME_INTERVAL = 2
"""Every second frame can be reached directly."""


class VideoInfo(NamedTuple):
    """What a video file's header and packets say."""

    codec: str
    pixel_format: str
    height: int
    width: int
    num_frames: int
    """Packets; every packet of the codecs used here is one frame."""
    starts_with_keyframe: bool

    @property
    def is_copyable(self) -> bool:
        """Whether its packets can go into a dataset without encoding them again."""
        return self.codec == "h264" and self.pixel_format == "yuv420p" and self.starts_with_keyframe


def open_video(path: Path) -> InputContainer:
    """Open a file for reading; it has at least one video stream.

    Raises:
        EpisodeError: If it is missing, truncated, or no video.
    """
    try:
        container = av.open(str(path), options=_READER_OPTIONS)
    except (FFmpegError, OSError) as error:
        raise EpisodeError(
            f"video {path} cannot be opened ({error}): it is truncated or no video. "
            "Exclude the episode with an annotation, or restore the file."
        ) from error
    # An unknown codec leaves a stream without a context.
    if not container.streams.video or not container.streams.video[0].codec_context:
        container.close()
        raise EpisodeError(f"{path} has no video stream of a known codec. Restore the file.")
    return container


def broken_video(path: Path, error: Exception) -> EpisodeError:
    """The error for a video that opens but cannot be read to its end."""
    return EpisodeError(
        f"video {path} is damaged ({error}). "
        "Exclude the episode with an annotation, or restore the file."
    )


def probe_video(path: Path) -> VideoInfo:
    """Read header and packets of a video, without decoding.

    Raises:
        EpisodeError: If it cannot be opened or read to the end.
    """
    with closing(open_video(path)) as container:
        stream = container.streams.video[0]
        keyframes = [packet.is_keyframe for packet in _packets(container, path)]
        context = stream.codec_context
        return VideoInfo(
            codec=stream.codec.canonical_name,
            pixel_format=context.pix_fmt or "",
            height=context.height,
            width=context.width,
            num_frames=len(keyframes),
            starts_with_keyframe=bool(keyframes) and keyframes[0],
        )


def _packets(container: InputContainer, path: Path) -> list[av.Packet]:
    try:
        return [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    except FFmpegError as error:
        raise broken_video(path, error) from error


def packet_times(path: Path) -> Float64[np.ndarray, " p"]:
    """Presentation time of every packet of a video, seconds, rising; nothing is decoded.

    Raises:
        EpisodeError: If it cannot be opened or read to the end.
    """
    with closing(open_video(path)) as container:
        base = container.streams.video[0].time_base or Fraction(1)
        times = [float((packet.pts or 0) * base) for packet in _packets(container, path)]
    return np.sort(np.array(times, dtype=np.float64))


def read_frames_in_order(
    path: Path, *, start_s: float = 0.0, is_threaded: bool = True
) -> Generator[av.VideoFrame]:
    """Decoded frames of a video by rising time, from ``start_s`` seconds on.

    Args:
        path: The video.
        start_s: Frames before this time are left out, seconds.
        is_threaded: Whether the decoder may use all CPUs; not where many videos are read at once.

    Raises:
        EpisodeError: If it cannot be opened or decoded.
    """
    with closing(open_video(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO" if is_threaded else "NONE"
        try:
            if start_s > 0 and stream.time_base is not None:
                container.seek(round(start_s / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= start_s - TIME_TOLERANCE_S:
                    yield frame
        except FFmpegError as error:
            raise broken_video(path, error) from error


def frame_time_s(frame: av.VideoFrame) -> float:
    """When a decoded frame is shown, seconds from the start of its video."""
    assert frame.time is not None  # noqa: S101 - read_frames_in_order leaves such frames out
    return float(frame.time)


def rgb(frame: av.VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    """Pixels of a decoded frame."""
    return frame.to_ndarray(format="rgb24")


def copy_packets(source: Path, target: Path, *, fps: int) -> int:
    """Rewrap a video packet by packet, its frames now exactly ``1 / fps`` seconds apart.

    Args:
        source: H.264 video that starts with a keyframe.
        target: New mp4 file; its directory exists.
        fps: Frame rate of the copy, frames per second.

    Returns:
        Frames copied.

    Raises:
        EpisodeError: If the source cannot be read.
    """
    with closing(open_video(source)) as container:
        stream, packets = container.streams.video[0], _packets(container, source)
        # Display order by presentation time; how far a packet is decoded ahead of its display
        # (B-frames) shifts all decoding times, so that none is later than its presentation.
        order = sorted(range(len(packets)), key=lambda i: packets[i].pts or 0)
        rank = {packet: position for position, packet in enumerate(order)}
        delay = max((i - rank[i] for i in range(len(packets))), default=0)
        with new_video(target) as copy:
            output = copy.add_stream_from_template(stream)
            output.time_base = Fraction(1, fps)
            for i, packet in enumerate(packets):
                packet.stream = output
                packet.time_base = Fraction(1, fps)
                packet.pts, packet.dts, packet.duration = rank[i], i - delay, 1
                copy.mux(packet)
        return len(packets)


def muxer_options() -> dict[str, str]:
    """Options of every mp4 that is written: the index first, and nothing of the library's."""
    # bitexact: no version strings, so the same packets give the same bytes.
    return {"movflags": "+faststart", "fflags": "+bitexact"}


@contextmanager
def new_video(target: Path) -> Generator[OutputContainer]:
    """An mp4 container to fill.

    The files are opened here, not by PyAV, which leaves its own open if the last write fails: on a
    full disk, that would keep the space of a file that is long removed.
    """

    def reopen(url: str, flags: int, options: Mapping[str, str]) -> BinaryIO:
        """The same file again, to be read while the index is moved to the front."""
        del url, flags, options
        return target.open("rb", buffering=0)

    with (
        target.open("w+b", buffering=0) as file,
        closing(
            av.open(file, "w", format="mp4", options=muxer_options(), io_open=reopen)
        ) as container,
    ):
        yield container


def encode_video(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]],
    target: Path,
    *,
    fps: int,
    keyframe_interval: int = KEYFRAME_INTERVAL,
) -> int:
    """Encode frames as H.264, yuv420p, synchronously: no frame can be dropped.

    Args:
        frames: RGB frames of equal, even size.
        target: New mp4 file; its directory exists.
        fps: Frames per second.
        keyframe_interval: Every so many frames one that can be decoded on its own.

    Returns:
        Frames encoded.

    Raises:
        EpisodeError: If the encoder gave another number of packets than it was given frames.
    """
    num_frames = num_packets = 0
    with new_video(target) as container:
        stream = None
        for image in frames:
            if stream is None:
                _check_even(image, target)
                stream = container.add_stream("libx264", rate=fps, options=X264_OPTIONS)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.gop_size = keyframe_interval
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = num_frames
            packets = stream.encode(frame)
            container.mux(packets)
            num_packets += len(packets)
            num_frames += 1
        if stream is not None:
            packets = stream.encode()
            container.mux(packets)
            num_packets += len(packets)
    if num_packets != num_frames:
        raise EpisodeError(
            f"{target} got {num_packets} packets for {num_frames} frames; every frame must be one "
            "packet. Convert again, and report this if it happens twice."
        )
    return num_frames


def _check_even(image: UInt8[np.ndarray, "height width 3"], target: Path) -> None:
    height, width, _ = image.shape
    if height % 2 or width % 2:
        raise EpisodeError(
            f"frames for {target} are {width}x{height} pixels, but H.264 in yuv420p needs even "
            "sizes. Record with an even size."
        )


def encode_lossless(frames: Iterable[av.VideoFrame], target: Path, *, fps: int) -> int:
    """Encode decoded frames as H.264 without any loss, in their own pixel format.

    Args:
        frames: Frames of one video, by rising time.
        target: New mp4 file; its directory exists.
        fps: Frames per second.

    Returns:
        Frames encoded.
    """
    num_frames = 0
    with new_video(target) as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=fps, options=LOSSLESS_OPTIONS)
                stream.height, stream.width = frame.height, frame.width
                stream.pix_fmt = frame.format.name
                stream.gop_size = KEYFRAME_INTERVAL
                stream.codec_context.color_range = frame.color_range
                stream.codec_context.colorspace = frame.colorspace
            frame.pts, frame.time_base = num_frames, Fraction(1, fps)
            frame.pict_type = PictureType.NONE  # the encoder would repeat the source's keyframes
            container.mux(stream.encode(frame))
            num_frames += 1
        if stream is not None:
            container.mux(stream.encode())
    return num_frames


def image_statistics(path: Path, *, start_s: float, num_frames: int) -> FeatureStatistics:
    """Statistics of an episode's images, from as many frames as LeRobot decodes.

    Args:
        path: Video that holds the episode.
        start_s: Time of its first frame or up to one frame before, seconds.
        num_frames: Its frames.

    Raises:
        EpisodeError: If the video ends before the episode.
    """
    wanted = set(sampled_frames(num_frames).tolist())
    statistics, num_decoded = ImageStatistics(), 0
    for frame in islice(read_frames_in_order(path, start_s=start_s), num_frames):
        if num_decoded in wanted:
            statistics.add(rgb(frame))
        num_decoded += 1
    if num_decoded != num_frames:
        raise EpisodeError(
            f"video {path} yields {num_decoded} of the {num_frames} frames from {start_s:.3f} s "
            "on. Write the dataset again."
        )
    return statistics.result()


def video_feature(info: VideoInfo, *, fps: int) -> Feature:
    """The feature of ``info.json`` that describes a camera."""
    return {
        "dtype": "video",
        "shape": [info.height, info.width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": info.height,
            "video.width": info.width,
            "video.codec": info.codec,
            "video.pix_fmt": info.pixel_format,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
            "is_depth_map": False,
        },
    }
