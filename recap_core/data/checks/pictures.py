"""Decoded images: can they be decoded, are they black, do they stand still?"""

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from recap_core.config.validation import ValidateConfig
from recap_core.data.checks.finding import Finding, Place, from_error
from recap_core.data.checks.videos import Span
from recap_core.data.layout import DatasetMeta
from recap_core.data.video_files import read_frames_in_order, rgb
from recap_core.errors import EpisodeError

BLACK_LEVEL = 8
"""Level of 255 that no channel of a black picture exceeds, up to compression."""

type Picture = tuple[int, UInt8[np.ndarray, "height width 3"]]
"""Frame of the episode, and its image."""


def check_pictures(
    meta: DatasetMeta, key: tuple[str, int, int], spans: list[Span], config: ValidateConfig
) -> Generator[Finding]:
    """Images of the episodes of one video file, all or the first, middle and last of each."""
    camera, path = key[0], meta.video_path(*key)
    for span in spans:
        where = Place(episode=span.episode, feature=camera)
        is_whole = config.decode == "all"
        pictures = _all(path, span) if is_whole else _sampled(path, span, meta.fps)
        try:
            yield from _look(pictures, span, where, meta.fps, config)
        except EpisodeError as error:
            yield from_error(error, check="pictures", where=where)


def _sampled(path: Path, span: Span, fps: int) -> Iterator[Picture]:
    for frame in sorted({0, span.length // 2, span.length - 1}):
        wanted_s = span.start_s + frame / fps
        found = next(read_frames_in_order(path, start_s=max(wanted_s, 0.0)), None)
        if found is None or found.time is None or found.time > wanted_s + 0.5 / fps:
            raise EpisodeError(f"{path} yields no picture at {wanted_s:.3f} s: it is damaged.")
        yield frame, rgb(found)


def _all(path: Path, span: Span) -> Iterator[Picture]:
    frames = read_frames_in_order(path, start_s=max(span.start_s, 0.0))
    num_frames = 0
    for frame in frames:
        if num_frames == span.length:
            break
        yield num_frames, rgb(frame)
        num_frames += 1
    if num_frames < span.length:
        raise EpisodeError(
            f"{path} yields {num_frames} pictures for {span.length} rows: it is damaged."
        )


def _look(
    pictures: Iterator[Picture], span: Span, where: Place, fps: int, config: ValidateConfig
) -> Generator[Finding]:
    previous, since, longest, at = None, 0, 0, 0
    black: list[int] = []
    for frame, image in pictures:
        if image.max() <= BLACK_LEVEL:
            black.append(frame)
        if previous is None or not np.array_equal(image, previous):
            previous, since = image, frame
        elif frame - since >= longest:
            longest, at = frame - since + 1, since
    if black:
        yield Finding(
            severity="warning",
            check="pictures",
            where=where.model_copy(update={"frame": black[0]}),
            value=f"black ({len(black)} pictures)",
            rule="a camera that sees nothing is covered, unplugged or not yet awake",
            fix="look at the episode, and exclude it with an annotation",
        )
    if longest >= min(config.frozen_s * fps, span.length) and span.length > 2:
        yield Finding(
            severity="warning",
            check="pictures",
            where=where.model_copy(update={"frame": at}),
            value=f"the same picture for {longest / fps:.1f} s",
            rule=f"no picture stays equal in every pixel for {config.frozen_s:g} s",
            fix="look at the episode: did the camera hang?",
        )
