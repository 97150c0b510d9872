"""Bounded queues of images, and videos of any size."""

from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from recap_core.collection.camera_encoder import CameraEncoder, ImagePool, video_settings
from recap_core.config.recording import RecordingConfig
from recap_core.errors import EpisodeError
from recap_core.rollout.live import CameraFormat
from tests.core.collection.live_cell import image_of

SIZE = CameraFormat(32, 128)
PATIENCE_S = 600.0
SETTINGS = video_settings(RecordingConfig(crf=20, preset="ultrafast", keyframe_interval=5), 30)


def test_a_full_queue_drops_the_image(tmp_path: Path) -> None:
    """Both buffers are in use: the image is refused; later ones are taken."""
    pool = ImagePool(SIZE, capacity=2)
    encoder = CameraEncoder(tmp_path / "a.mp4", SETTINGS, pool)
    held = [pool.take(), pool.take()]
    assert pool.used_share == 1
    assert not encoder.copy(image_of(0), 0.0)
    for buffer in held:
        assert buffer is not None
        pool.give_back(buffer)
    assert encoder.copy(image_of(1), 1.0)
    encoder.send()
    encoder.end()
    encoder.finish(PATIENCE_S)
    assert encoder.times == [1.0]
    assert pool.used_share == 0


def test_videos_are_wider_than_high(tmp_path: Path) -> None:
    """h264, yuv420p, 128 x 32, a keyframe every 5 frames; every picture in its place."""
    encoder = CameraEncoder(tmp_path / "a.mp4", SETTINGS, ImagePool(SIZE, capacity=20))
    for number in range(12):
        assert encoder.copy(image_of(number), float(number))
    encoder.send()
    encoder.end()
    encoder.finish(PATIENCE_S)
    with closing(av.open(str(tmp_path / "a.mp4"))) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.pix_fmt) == (128, 32, "yuv420p")
        keys = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
    assert [i for i, is_key in enumerate(keys) if is_key] == [0, 5, 10]
    assert len(keys) == len(encoder.times) == 12


def test_a_video_that_fails_takes_no_more_images(tmp_path: Path) -> None:
    """Its directory does not exist; all buffers come back."""
    pool = ImagePool(SIZE, capacity=4)
    encoder = CameraEncoder(tmp_path / "none" / "a.mp4", SETTINGS, pool)
    encoder.copy(image_of(0), 0.0)
    encoder.send()
    encoder.end()
    with pytest.raises(EpisodeError, match=r"a\.mp4 cannot be written"):
        encoder.finish(PATIENCE_S)
    assert not encoder.copy(image_of(1), 1.0)
    assert pool.used_share == 0


def test_an_abandoned_video_gives_its_buffers_back(tmp_path: Path) -> None:
    """Whatever still waits is not encoded."""
    pool = ImagePool(SIZE, capacity=50)
    encoder = CameraEncoder(tmp_path / "a.mp4", SETTINGS, pool)
    for number in range(50):
        encoder.copy(np.zeros((*SIZE, 3), np.uint8), float(number))
    encoder.send()
    encoder.abandon(PATIENCE_S)
    assert pool.used_share == 0
