"""The encoded frames of one episode, for players that decode them themselves."""

from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple

import av
from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError
from av.stream import Stream

from recap_core.data.layout import DatasetMeta
from recap_core.errors import EpisodeError

_ANNEX_B: Final = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
"""Filters that give packets the form in which they are sent; AV1 has it in files too."""


class EncodedFrame(NamedTuple):
    """One frame as it was encoded."""

    data: bytes
    is_keyframe: bool


class EncodedEpisode(NamedTuple):
    """All frames of one camera of one episode, in order, the first one a keyframe."""

    codec: str
    """``h264``, ``hevc`` or ``av1``."""
    frames: list[EncodedFrame]


def encoded_episode(meta: DatasetMeta, camera: str, episode: int) -> EncodedEpisode | None:
    """The packets of an episode, cut out of the file that it shares with others.

    H.264 and HEVC packets have start codes (Annex B) and carry their parameter sets.

    Returns:
        None if they cannot be played on their own, one after the other: the episode does not start
        with a keyframe, frames are reordered (B-frames), or the codec is another one.

    Raises:
        EpisodeError: If the file cannot be read, or holds another number of frames.
    """
    names = ("chunk_index", "file_index", "from_timestamp")
    chunk_index, file_index, start_s = (
        meta.episode_column(f"videos/{camera}/{name}")[episode] for name in names
    )
    path = meta.video_path(camera, int(chunk_index), int(file_index))
    length = int(meta.episode_lengths[episode])
    # Half a frame of margin: times in files are rounded.
    first_s = float(start_s) - 0.5 / meta.fps
    end_s = first_s + length / meta.fps
    try:
        with closing(av.open(str(path))) as container:
            stream = container.streams.video[0]
            codec = stream.codec.canonical_name
            if stream.time_base is None or codec not in {*_ANNEX_B, "av1"}:
                return None
            container.seek(max(round(float(start_s) / stream.time_base), 0), stream=stream)
            packets = list(_span(container.demux(stream), first_s=first_s, end_s=end_s))
            times = [(packet.pts, packet.dts) for packet in packets]
            if any(pts != dts for pts, dts in times) or not packets or not packets[0].is_keyframe:
                return None
            frames = list(_sendable(packets, codec, stream))
    except (FFmpegError, OSError, IndexError) as error:
        raise EpisodeError(
            f"video {path} cannot be read ({error}). Write the dataset again."
        ) from error
    if len(frames) != length:
        raise EpisodeError(
            f"{path} holds {len(frames)} of the {length} frames of episode {episode}. "
            "Write the dataset again."
        )
    return EncodedEpisode(codec, frames)


def _span(packets: Iterator[av.Packet], *, first_s: float, end_s: float) -> Iterator[av.Packet]:
    """Packets that are shown within a span; reading stops behind it."""
    for packet in packets:
        if packet.pts is None or packet.time_base is None:
            continue
        shown_s = float(packet.pts * packet.time_base)
        if shown_s >= end_s and packet.is_keyframe:
            return
        if first_s <= shown_s < end_s:
            yield packet


def _sendable(packets: list[av.Packet], codec: str, stream: Stream) -> Iterator[EncodedFrame]:
    if codec not in _ANNEX_B:
        for packet in packets:
            yield EncodedFrame(bytes(packet), packet.is_keyframe)
        return
    filters = BitStreamFilterContext(_ANNEX_B[codec], stream)
    for packet in [*packets, None]:
        for sendable in filters.filter(packet):
            yield EncodedFrame(bytes(sendable), sendable.is_keyframe)
