"""One video file per episode out of files that hold several, packet by packet.

Packets are copied where an episode can be decoded on its own; then its pictures are the same bit by
bit. Where it cannot, because the file was encoded across the boundary of two episodes, that episode
is encoded anew, losslessly.
"""

from bisect import bisect_right
from collections.abc import Generator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.stream import VideoStream

from recap_core.data.index_columns import TOLERANCE_S
from recap_core.data.video_files import (
    broken_video,
    encode_lossless,
    muxer_options,
    open_video,
    read_frames_in_order,
)
from recap_core.errors import EpisodeError


class Span(NamedTuple):
    """The frames of one episode in a video file, and the file that they go to."""

    episode: int
    start_s: float
    """Time of the first frame in the source; true to half a frame."""
    num_frames: int
    target: Path
    """New mp4 file; its directory exists."""


class _Packet(NamedTuple):
    """A packet of one episode."""

    packet: av.Packet
    position: int
    """Among the packets of its file, in decoding order."""
    frame_index: int
    """In its episode, in display order."""


def cut_video(source: Path, spans: Sequence[Span], *, fps: int) -> list[int]:
    """Write spans of one video file as files that start at 0, frames ``1 / fps`` seconds apart.

    Frames are found by their time, with a margin of half a frame. Memory holds the packets of one
    episode.

    Args:
        source: A video file.
        spans: What to write; spans may overlap.
        fps: Frame rate of source and targets, frames per second.

    Returns:
        Episodes that had to be encoded again.

    Raises:
        EpisodeError: If the source does not hold exactly the frames of a span.
    """
    encoded = []
    for lane in _lanes(spans, fps):
        for span, packets in _episodes(source, lane, fps):
            if _is_decodable_alone(packets):
                _write_packets(packets, span.target, fps=fps)
            else:
                encoded.append(span)
    for span in encoded:
        frames = read_frames_in_order(source, start_s=span.start_s - 0.5 / fps)
        num_frames = encode_lossless(islice(frames, span.num_frames), span.target, fps=fps)
        if num_frames != span.num_frames:
            raise _wrong_frames(source, span, num_frames)
    return [span.episode for span in encoded]


def check_video(path: Path, *, num_frames: int, fps: int) -> None:
    """Raise EpisodeError unless a file holds one episode: each frame at its time, from 0 on."""
    times = []
    for packet, time_s in _timed_packets(path):
        if not times and not packet.is_keyframe:
            raise EpisodeError(
                f"video {path} does not start with a keyframe, so it cannot be decoded from its "
                "start. Write the dataset again."
            )
        times.append(time_s)
    if len(times) != num_frames:
        raise EpisodeError(
            f"video {path} holds {len(times)} frames, but its episode has {num_frames} rows. "
            "Restore the file, or leave the episode out."
        )
    error_s = np.abs(np.sort(times) - np.arange(num_frames) / fps)
    if (wrong := np.flatnonzero(error_s > TOLERANCE_S)).size:
        raise EpisodeError(
            f"frame {wrong[0]} of video {path} is {error_s[wrong[0]]:.4g} s off its time at {fps} "
            f"fps; {TOLERANCE_S} s are allowed ({wrong.size} of {num_frames} frames are off). "
            "Write the dataset again at its real frame rate."
        )


def _lanes(spans: Sequence[Span], fps: int) -> list[list[Span]]:
    """The spans in as few lists as possible, each in order of time and without overlap."""
    lanes: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: span.start_s):
        for lane in lanes:
            if lane[-1].start_s + (lane[-1].num_frames - 0.5) / fps <= span.start_s:
                lane.append(span)
                break
        else:
            lanes.append([span])
    return lanes


def _episodes(
    source: Path, spans: Sequence[Span], fps: int
) -> Generator[tuple[Span, list[_Packet]]]:
    """Every span with its packets in decoding order, as soon as all of them are read."""
    starts = [span.start_s - 0.5 / fps for span in spans]
    found: list[list[_Packet]] = [[] for _ in spans]
    num_found = [0] * len(spans)
    for position, (packet, time_s) in enumerate(_timed_packets(source)):
        number = bisect_right(starts, time_s) - 1
        span = spans[max(number, 0)]
        frame_index = round((time_s - span.start_s) * fps)
        if number < 0 or frame_index >= span.num_frames:
            continue
        found[number].append(_Packet(packet, position, frame_index))
        num_found[number] += 1
        if num_found[number] == span.num_frames:
            num_different = len({packet.frame_index for packet in found[number]})
            if num_different < span.num_frames:  # two at one time, none at another
                raise _wrong_frames(source, span, num_different)
            yield span, found[number]
            found[number] = []
    for span, count in zip(spans, num_found, strict=True):
        if count != span.num_frames:
            raise _wrong_frames(source, span, count)


def _timed_packets(path: Path) -> Generator[tuple[av.Packet, float]]:
    """Packets of a video in decoding order, and the times at which they are shown, seconds."""
    with closing(open_video(path)) as container:
        stream = container.streams.video[0]
        tick_s = float(stream.time_base or 0)
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue  # the end
                if packet.pts is None or packet.is_corrupt:
                    raise EpisodeError(
                        f"video {path} is damaged: a packet is cut short or has no time. "
                        "Restore the file, or leave the episode out."
                    )
                yield packet, packet.pts * tick_s
        except FFmpegError as error:
            raise broken_video(path, error) from error


def _wrong_frames(source: Path, span: Span, num_frames: int) -> EpisodeError:
    return EpisodeError(
        f"video {source} holds {num_frames} frames for the {span.num_frames} rows of episode "
        f"{span.episode}, which starts at {span.start_s:.3f} s in it. Write the dataset again."
    )


def _is_decodable_alone(packets: Sequence[_Packet]) -> bool:
    """Whether an episode needs no packet of its neighbours, and they need none of it.

    It starts with a keyframe that is also shown first, and no other episode's packet is among its
    own: open groups of pictures are interleaved at their borders.
    """
    first, last = packets[0], packets[-1]
    is_unbroken = last.position - first.position == len(packets) - 1
    return first.packet.is_keyframe and first.frame_index == 0 and is_unbroken


def _write_packets(packets: Sequence[_Packet], target: Path, *, fps: int) -> None:
    """Mux an episode's packets as they are, with new times."""
    # How far a packet is decoded ahead of its display (B-frames) shifts all decoding times, so that
    # none is later than its presentation.
    delay = max(i - packet.frame_index for i, packet in enumerate(packets))
    template, frame_s = cast("VideoStream", packets[0].packet.stream), Fraction(1, fps)
    with closing(av.open(str(target), "w", format="mp4", options=muxer_options())) as container:
        stream = container.add_stream_from_template(template, opaque=True)
        stream.time_base = frame_s
        for i, (packet, _, frame_index) in enumerate(packets):
            packet.stream = stream
            packet.time_base = frame_s
            packet.pts, packet.dts, packet.duration = frame_index, i - delay, 1
            container.mux(packet)
