"""Videos of a dataset: as many packets as rows, without decoding any."""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from recap_core.data.checks.finding import Finding, Place, from_error
from recap_core.data.checks.rows import episode_origins
from recap_core.data.layout import DatasetMeta
from recap_core.data.video_files import packet_times, probe_video
from recap_core.errors import EpisodeError


class Span(NamedTuple):
    """The frames of one episode in a video file."""

    episode: int
    start_s: float
    length: int
    """Rows of the episode."""
    origin: str
    """Which recorded episode it is; empty if nobody says."""


type Spans = dict[tuple[str, int, int], list[Span]]
"""By camera, chunk index and file index; in the order of the episodes."""


def video_spans(meta: DatasetMeta) -> Spans:
    """Which episodes every video file holds, by ``meta/episodes``."""
    spans: Spans = {}
    lengths = meta.episode_lengths.tolist()
    origins = episode_origins(meta) or [""] * len(lengths)
    for camera in meta.cameras:
        columns = [
            meta.episode_column(f"videos/{camera}/{name}").tolist()
            for name in ("chunk_index", "file_index", "from_timestamp")
        ]
        for episode, (chunk, file, start_s) in enumerate(zip(*columns, strict=True)):
            span = Span(episode, start_s, lengths[episode], origins[episode])
            spans.setdefault((camera, chunk, file), []).append(span)
    return spans


def check_video(
    meta: DatasetMeta, key: tuple[str, int, int], spans: list[Span]
) -> Generator[Finding]:
    """One video file: its format, and a packet for every row of its episodes."""
    camera, path = key[0], meta.video_path(*key)
    file = path.relative_to(meta.root).as_posix()
    try:
        info, times = probe_video(path), packet_times(path)
    except EpisodeError as error:
        yield from_error(error, check="videos", where=Place(feature=camera, file=file))
        return
    stored, declared = [info.height, info.width], list(meta.features[camera]["shape"][:2])
    if stored != declared:
        yield Finding(
            severity="error",
            check="videos",
            where=Place(feature=camera, file=file),
            value=f"{stored[1]}x{stored[0]} pixels",
            rule=f"info.json says {declared[1]}x{declared[0]}",
            fix="convert the recording again",
        )
    is_taken = np.zeros(len(times), dtype=bool)
    seen: set[tuple[float, int, str]] = set()
    for span in spans:
        is_inside = _inside(times, span, meta.fps)
        yield from _packets(times[is_inside], span, camera, file, meta.fps)
        place = (span.start_s, span.length, span.origin)
        # An episode that was merged several times has its frames once.
        is_repeat = bool(span.origin) and place in seen
        seen.add(place)
        if not is_repeat and (is_taken & is_inside).any():
            yield Finding(
                severity="error",
                check="videos",
                where=Place(episode=span.episode, feature=camera, file=file),
                value=f"{int((is_taken & is_inside).sum())} frames belong to another episode too",
                rule="spans of episodes in a video do not overlap",
                fix="write the dataset again",
            )
        is_taken |= is_inside
    if not is_taken.all():
        yield Finding(
            severity="note",
            check="videos",
            where=Place(feature=camera, file=file),
            value=f"{int((~is_taken).sum())} of {len(times)} frames",
            rule="these frames belong to no episode and only take space",
            fix="nothing, or write the dataset again",
        )


def _inside(times: Float64[np.ndarray, " p"], span: Span, fps: int) -> Bool[np.ndarray, " p"]:
    """Packets of an episode, with a margin of half a frame."""
    first = span.start_s - 0.5 / fps
    return (times >= first) & (times < first + span.length / fps)


def _packets(
    times: Float64[np.ndarray, " p"], span: Span, camera: str, file: str, fps: int
) -> Generator[Finding]:
    where = Place(episode=span.episode, feature=camera, file=file)
    if len(times) != span.length:
        yield Finding(
            severity="error",
            check="videos",
            where=where,
            value=f"{len(times)} frames for {span.length} rows",
            rule="every row has exactly one frame of every camera",
            fix="restore the video, or write the dataset again",
        )
        return
    late = np.abs(times - span.start_s - np.arange(len(times)) / fps)
    if late.max() > 0.25 / fps:
        yield Finding(
            severity="error",
            check="videos",
            where=where.model_copy(update={"frame": int(late.argmax())}),
            value=f"a frame {late.max():.4f} s away from its row",
            rule=f"frames are 1/{fps} s apart, as rows are",
            fix="write the dataset again",
        )
