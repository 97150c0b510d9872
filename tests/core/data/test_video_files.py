"""Single video files."""

from pathlib import Path

import av
import numpy as np
import pytest

from recap_core.data.video_files import (
    copy_packets,
    encode_video,
    probe_video,
    read_frames_in_order,
    rgb,
)
from recap_core.errors import EpisodeError


def moving_bar(num_frames: int, px: int = 32) -> list[np.ndarray]:
    """A bright bar that moves one pixel per frame."""
    frames = np.full((num_frames, px, px, 3), 40, dtype=np.uint8)
    for t in range(num_frames):
        frames[t, :, t % px] = 220
    return list(frames)


def images(path: Path) -> np.ndarray:
    return np.stack([rgb(frame) for frame in read_frames_in_order(path)])


def times(path: Path) -> list[float]:
    return [frame.time or 0.0 for frame in read_frames_in_order(path)]


def encode_with_b_frames(path: Path, frames: list[np.ndarray], *, rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"bf": "3"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.gop_size = "yuv420p", 12
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def test_every_frame_is_encoded_at_its_time(tmp_path: Path) -> None:
    """Frames in, the same number of frames out, 1/fps apart from 0, every second a keyframe."""
    path = tmp_path / "video.mp4"

    assert encode_video(moving_bar(7), path, fps=10) == 7

    info = probe_video(path)
    assert (info.num_frames, info.height, info.width, info.is_copyable) == (7, 32, 32, True)
    np.testing.assert_allclose(times(path), np.arange(7) / 10)
    assert np.abs(images(path).astype(int) - np.stack(moving_bar(7))).mean() < 6
    keyframes = [frame.key_frame for frame in read_frames_in_order(path)]
    assert keyframes == [True, False, True, False, True, False, True]


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    """Encoding and copying are deterministic."""
    for name in ("a", "b"):
        encode_video(moving_bar(9), tmp_path / f"{name}.mp4", fps=10)
        copy_packets(tmp_path / f"{name}.mp4", tmp_path / f"{name}_copy.mp4", fps=10)

    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a_copy.mp4").read_bytes() == (tmp_path / "b_copy.mp4").read_bytes()


def test_copied_packets_are_the_same_pictures_at_a_new_rate(tmp_path: Path) -> None:
    """Also with B-frames, where packets are not in the order of the pictures."""
    source, target = tmp_path / "source.mp4", tmp_path / "target.mp4"
    encode_with_b_frames(source, moving_bar(30), rate=30)

    assert copy_packets(source, target, fps=7) == 30

    np.testing.assert_array_equal(images(source), images(target))
    np.testing.assert_allclose(times(target), np.arange(30) / 7, atol=1e-4)


def test_reading_can_start_later(tmp_path: Path) -> None:
    """From the frame at that time on, whether it is a keyframe or not."""
    path = tmp_path / "video.mp4"
    encode_with_b_frames(path, moving_bar(30), rate=10)

    later = [rgb(frame) for frame in read_frames_in_order(path, start_s=1.7)]

    np.testing.assert_array_equal(np.stack(later), images(path)[17:])


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_a_truncated_video_is_refused(tmp_path: Path, keep: float) -> None:
    """Cut anywhere, the error names the file and the next step."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    encode_with_b_frames(whole, moving_bar(30), rate=10)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])

    with pytest.raises(EpisodeError, match=r"video .*cut.mp4 .*annotation"):
        probe_video(cut)


def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    """Sound only is no camera."""
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), "s16", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))

    with pytest.raises(EpisodeError, match="no video stream"):
        probe_video(path)


def test_frames_of_odd_size_are_refused(tmp_path: Path) -> None:
    """H.264 halves both sides; the encoder's own message would not say so."""
    frames = [np.zeros((33, 32, 3), dtype=np.uint8)]

    with pytest.raises(EpisodeError, match=r"32x33 pixels, but H.264 in yuv420p needs even sizes"):
        encode_video(frames, tmp_path / "odd.mp4", fps=10)
