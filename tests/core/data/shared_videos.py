"""Datasets whose episodes share one mp4 per camera, encoded in every way that has to be cut."""

import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream

from recap_core.data.columns import ACTION, IMAGE_PREFIX, STATE, vector_feature
from recap_core.data.dataset_writer import DatasetWriter, Origin, VideoSpan
from recap_core.data.frames import read_frames
from recap_core.data.layout import read_meta
from recap_core.data.video_files import (
    image_statistics,
    probe_video,
    read_frames_in_order,
    video_feature,
)

FPS = 10
CAMERAS = (f"{IMAGE_PREFIX}head", f"{IMAGE_PREFIX}wrist")
TASKS = ("fold the café towel 折", "lift")


class Encoding(NamedTuple):
    """How a video of several episodes is encoded."""

    codec: str
    options: dict[str, str]
    starts_with_keyframes: bool = True
    """Every episode; else the first one only."""


H264 = Encoding("libx264", {"bf": "0", "forced-idr": "1"})
B_FRAMES = Encoding("libx264", {"bf": "3", "forced-idr": "1"})
AV1 = Encoding("libsvtav1", {"preset": "10"})
ONE_KEYFRAME = Encoding("libx264", {"bf": "3"}, starts_with_keyframes=False)
OPEN_GROUPS = Encoding(
    "libx264",
    {"bf": "3", "x264-params": "open-gop=1:keyint=6:min-keyint=6:scenecut=0:b-adapt=0"},
    starts_with_keyframes=False,
)


def picture(episode: int, t: int, camera: int) -> np.ndarray:
    """A picture unlike all others: a bar that moves with time over the episode's shade."""
    image = np.full((32, 32, 3), 30 + 25 * episode + 10 * camera, dtype=np.uint8)
    image[:, (3 * t + episode) % 32] = (220, 40 * camera, 90)
    return image


def encode(path: Path, lengths: Sequence[int], encoding: Encoding, *, camera: int = 0) -> None:
    """Encode episodes one after the other into one mp4."""
    with av.open(str(path), "w", format="mp4") as container:
        added = container.add_stream(encoding.codec, rate=FPS, options=encoding.options)
        stream = cast("VideoStream", added)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        if "x264-params" not in encoding.options:
            stream.gop_size = 1000
        start = 0
        for episode, length in enumerate(lengths):
            for t in range(length):
                frame = av.VideoFrame.from_ndarray(picture(episode, t, camera), format="rgb24")
                frame.pts = start + t
                if t == 0 and encoding.starts_with_keyframes:
                    frame.pict_type = PictureType.I
                container.mux(stream.encode(frame))
            start += length
        container.mux(stream.encode())


def write_shared_dataset(
    root: Path, lengths: Sequence[int], encoding: Encoding = H264, *, num_cameras: int = 2
) -> Path:
    """Write a v3.0 dataset with one mp4 per camera; returns ``root``."""
    files = {}
    for i, camera in enumerate(CAMERAS[:num_cameras]):
        files[camera] = root / "videos" / camera / "chunk-000" / "file-000.mp4"
        files[camera].parent.mkdir(parents=True)
        encode(files[camera], lengths, encoding, camera=i)
    features = {
        STATE: vector_feature(["x", "y", "z"]),
        ACTION: vector_feature(["x", "y", "z"]),
        "is_open": {"dtype": "bool", "shape": [1], "names": None},
        "adv_ind": {"dtype": "string", "shape": [1], "names": None},
        "force": {"dtype": "float64", "shape": [1], "names": None},
    }
    features |= {name: video_feature(probe_video(path), fps=FPS) for name, path in files.items()}
    rng = np.random.default_rng(len(lengths))
    # The second task is used first, so its index is not the order of appearance.
    with DatasetWriter(root, features, fps=FPS, robot_type="yam", tasks=TASKS) as writer:
        start = 0
        for episode, length in enumerate(lengths):
            start_s = start / FPS
            writer.add_episode(
                {
                    STATE: rng.normal(size=(length, 3)).astype(np.float32),
                    ACTION: rng.normal(size=(length, 3)).astype(np.float32),
                    "is_open": rng.random(length) < 0.5,
                    "adv_ind": rng.choice(["none", "positive", "négatif"], length),
                    "force": rng.normal(size=length),
                },
                task=TASKS[(episode + 1) % 2],
                origin=Origin("teaching", episode % 3, f"episode_{episode:04d}"),
                videos={c: VideoSpan(0, 0, start_s, (start + length) / FPS) for c in files},
                image_statistics={
                    c: image_statistics(path, start_s=start_s - 0.05, num_frames=length)
                    for c, path in files.items()
                },
            )
            start += length
        writer.finish()
    return root


def checksums(path: Path, *, start_s: float = 0.0, num_frames: int = 10**9) -> list[int]:
    """Checksum of the decoded planes of every frame."""
    frames: Iterator[av.VideoFrame] = read_frames_in_order(path, start_s=start_s)
    return [zlib.crc32(frame.to_ndarray().tobytes()) for frame in islice(frames, num_frames)]


def v30_checksums(root: Path) -> dict[tuple[str, int], list[int]]:
    """Checksums of all pictures of a v3.0 dataset, by camera and episode."""
    meta = read_meta(root)
    result = {}
    for camera in meta.cameras:
        for episode, row in enumerate(meta.episodes.to_pylist()):
            place = (row[f"videos/{camera}/{name}"] for name in ("chunk_index", "file_index"))
            result[camera, episode] = checksums(
                meta.video_path(camera, *place),
                start_s=row[f"videos/{camera}/from_timestamp"] - 0.5 / meta.fps,
                num_frames=row["length"],
            )
    return result


def assert_same_dataset(ours: Path, original: Path) -> None:
    """Every column, origin, task, feature, statistic and picture of two v3.0 datasets is equal."""
    a, b = read_frames(ours), read_frames(original)
    assert a.meta.features == b.meta.features
    assert (a.fps, a.tasks, a.meta.robot_type) == (b.fps, b.tasks, b.meta.robot_type)
    np.testing.assert_array_equal(a.episode_lengths, b.episode_lengths)
    for name, feature in a.meta.features.items():
        if feature["dtype"] != "video":
            assert a.column(name).dtype == b.column(name).dtype
            np.testing.assert_array_equal(a.column(name), b.column(name))
    assert v30_checksums(ours) == v30_checksums(original)
    rows, expected = (t.meta.episodes_with_statistics().to_pylist() for t in (a, b))
    for row, other in zip(rows, expected, strict=True):
        assert _without_places(row) == _without_places(other)


def _without_places(row: dict[str, object]) -> dict[str, object]:
    return {
        name: value
        for name, value in row.items()
        if not name.startswith(("videos/", "data/", "meta/"))
    }
