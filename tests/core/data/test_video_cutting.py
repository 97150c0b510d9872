"""Episodes cut out of shared video files."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from recap_core.data.video_cutting import Span, check_video, cut_video
from recap_core.data.video_files import probe_video, read_frames_in_order
from recap_core.errors import EpisodeError
from tests.core.data.shared_videos import (
    AV1,
    B_FRAMES,
    FPS,
    H264,
    ONE_KEYFRAME,
    OPEN_GROUPS,
    Encoding,
    checksums,
    encode,
)

LENGTHS = (7, 1, 10, 6)


def spans(target: Path, lengths: tuple[int, ...] = LENGTHS) -> list[Span]:
    starts = np.cumsum([0, *lengths]) / FPS
    return [
        Span(e, float(starts[e]), length, target / f"{e}.mp4") for e, length in enumerate(lengths)
    ]


@pytest.mark.parametrize(
    ("encoding", "lengths", "encoded_anew"),
    [
        (H264, LENGTHS, []),
        (B_FRAMES, LENGTHS, []),
        (AV1, LENGTHS, []),
        (ONE_KEYFRAME, LENGTHS, [1, 2, 3]),
        (OPEN_GROUPS, LENGTHS, [1, 2, 3]),
        (OPEN_GROUPS, (6, 6, 6, 6), [0, 1, 2, 3]),
    ],
    ids=["h264", "B-frames", "av1", "one keyframe", "open groups", "cut at open groups"],
)
def test_every_picture_is_the_same(
    tmp_path: Path, encoding: Encoding, lengths: tuple[int, ...], encoded_anew: list[int]
) -> None:
    """Bit by bit, also where an episode has to be encoded anew; all frames start at time 0."""
    source = tmp_path / "source.mp4"
    encode(source, lengths, encoding)

    assert cut_video(source, spans(tmp_path, lengths), fps=FPS) == encoded_anew

    original = checksums(source)
    assert len(set(original)) == sum(lengths)
    bounds = np.cumsum([0, *lengths])
    for (start, end), span in zip(pairwise(bounds), spans(tmp_path, lengths), strict=True):
        assert checksums(span.target) == original[start:end]
        times = [frame.time for frame in read_frames_in_order(span.target)]
        np.testing.assert_allclose(times, np.arange(end - start) / FPS, atol=1e-4)
        check_video(span.target, num_frames=span.num_frames, fps=FPS)


def test_the_frame_rate_in_the_header_is_exact(tmp_path: Path) -> None:
    """Readers that compute a frame's number from its time rely on it, B-frames or not."""
    encode(tmp_path / "source.mp4", LENGTHS, B_FRAMES)

    cut_video(tmp_path / "source.mp4", spans(tmp_path), fps=FPS)

    for span in spans(tmp_path):
        with av.open(str(span.target)) as container:
            assert container.streams.video[0].average_rate == FPS
            assert container.streams.video[0].frames == span.num_frames


def test_colours_survive_a_new_encoding(tmp_path: Path) -> None:
    """Range and matrix are in the new header, so that RGB comes out the same."""
    source = tmp_path / "source.mp4"
    options = {"bf": "0", "x264-params": "fullrange=on:colormatrix=bt709"}
    encode(source, LENGTHS, Encoding("libx264", options, starts_with_keyframes=False))

    cut_video(source, spans(tmp_path)[2:3], fps=FPS)

    (first, *_), (expected, *_) = (
        [frame.to_ndarray(format="rgb24") for frame in read_frames_in_order(path, start_s=start_s)]
        for path, start_s in ((tmp_path / "2.mp4", 0.0), (source, 0.75))
    )
    np.testing.assert_array_equal(first, expected)
    with av.open(str(tmp_path / "2.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_range, context.colorspace) == (2, 1)


def test_starts_may_be_off_by_less_than_half_a_frame(tmp_path: Path) -> None:
    """Sums of durations drift; the frames are found all the same."""
    source = tmp_path / "source.mp4"
    encode(source, LENGTHS, H264)
    expected = checksums(source)[8:18]

    for off_s in (-0.04, 0.04):
        span = spans(tmp_path)[2]
        cut_video(source, [span._replace(start_s=span.start_s + off_s)], fps=FPS)
        assert checksums(span.target) == expected


def test_several_episodes_may_show_the_same_frames(tmp_path: Path) -> None:
    """As in a dataset that repeats episodes without copying their videos."""
    source = tmp_path / "source.mp4"
    encode(source, LENGTHS, H264)
    again = [
        span._replace(target=tmp_path / f"again-{span.episode}.mp4") for span in spans(tmp_path)
    ]

    assert cut_video(source, spans(tmp_path) + again, fps=FPS) == []

    for span, copy in zip(spans(tmp_path), again, strict=True):
        assert span.target.read_bytes() == copy.target.read_bytes()


@pytest.mark.parametrize(
    ("start_s", "num_frames", "message"),
    [
        (1.8, 7, r"holds 6 frames for the 7 rows of episode 5, which starts at 1.800 s"),
        (9.0, 3, r"holds 0 frames for the 3 rows"),
    ],
)
def test_missing_frames_are_refused(
    tmp_path: Path, start_s: float, num_frames: int, message: str
) -> None:
    """The message gives file, episode, both counts and the place."""
    encode(tmp_path / "source.mp4", LENGTHS, H264)

    with pytest.raises(EpisodeError, match=message):
        cut_video(
            tmp_path / "source.mp4", [Span(5, start_s, num_frames, tmp_path / "x.mp4")], fps=FPS
        )


def test_another_frame_rate_is_refused(tmp_path: Path) -> None:
    """Twice the rows in the same time: half of them have no frame of their own."""
    encode(tmp_path / "source.mp4", (20,), H264)

    with pytest.raises(EpisodeError, match="holds 20 frames for the 40 rows"):
        cut_video(tmp_path / "source.mp4", [Span(0, 0.0, 40, tmp_path / "x.mp4")], fps=2 * FPS)


def test_two_frames_at_one_time_are_refused(tmp_path: Path) -> None:
    """The count is right, but one frame is missing and another one there twice."""
    encode(tmp_path / "source.mp4", (20,), H264)

    with pytest.raises(EpisodeError, match=r"holds \d+ frames for the 10 rows"):
        cut_video(tmp_path / "source.mp4", [Span(0, 0.0, 10, tmp_path / "x.mp4")], fps=FPS // 2 + 2)


@pytest.mark.parametrize("lost_bytes", [1, 100, 2000])
def test_a_cut_off_video_is_refused(tmp_path: Path, lost_bytes: int) -> None:
    """Even where only the last packet is short: the header still promises all of them."""
    encode(tmp_path / "source.mp4", LENGTHS, H264)
    cut_video(tmp_path / "source.mp4", [Span(0, 0.0, 24, tmp_path / "whole.mp4")], fps=FPS)
    content = (tmp_path / "whole.mp4").read_bytes()
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content[:-lost_bytes])

    with pytest.raises(EpisodeError, match=r"damaged.mp4"):
        check_video(damaged, num_frames=24, fps=FPS)
    with pytest.raises(EpisodeError, match=r"damaged.mp4"):
        cut_video(damaged, [Span(0, 0.0, 24, tmp_path / "x.mp4")], fps=FPS)


def test_the_video_of_one_episode_is_checked(tmp_path: Path) -> None:
    """Number of frames, their times, and a keyframe at the start."""
    path = tmp_path / "video.mp4"
    encode(path, (20,), B_FRAMES)
    assert probe_video(path).num_frames == 20

    check_video(path, num_frames=20, fps=FPS)
    with pytest.raises(EpisodeError, match="holds 20 frames, but its episode has 21 rows"):
        check_video(path, num_frames=21, fps=FPS)
    with pytest.raises(EpisodeError, match=r"frame 1 .* 0.01667 s off its time at 12 fps"):
        check_video(path, num_frames=20, fps=12)
