"""Packets of one episode, cut out of a shared file."""

import shutil
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from av.video.codeccontext import VideoCodecContext

from recap_core.data.layout import read_meta
from recap_core.data.video import decode_frames
from recap_core.data.video_stream import encoded_episode
from recap_core.errors import EpisodeError

CAMERA = "observation.images.left_wrist_camera"


def decoded(packets: list[bytes], codec: str) -> list[np.ndarray]:
    """Frames of packets that arrive one by one, without any container."""
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    frames = [frame for data in packets for frame in decoder.decode(av.Packet(data))]
    return [frame.to_ndarray(format="rgb24") for frame in [*frames, *decoder.decode(None)]]


def test_every_episode_decodes_alone_to_its_own_pixels(dataset: Path) -> None:
    """A decoder that knows nothing else shows what the dataset's reader shows."""
    meta = read_meta(dataset)
    starts = np.cumsum(meta.episode_lengths) - meta.episode_lengths

    for episode, length in enumerate(meta.episode_lengths.tolist()):
        encoded = encoded_episode(meta, CAMERA, episode)
        assert encoded is not None
        assert encoded.frames[0].is_keyframe
        images = decoded([frame.data for frame in encoded.frames], encoded.codec)
        wanted = decode_frames(dataset, [CAMERA], np.arange(length) + starts[episode])
        np.testing.assert_array_equal(np.stack(images), wanted[CAMERA])


def in_one_file(dataset: Path, target: Path, *, gop: int, max_b_frames: int) -> Path:
    """A copy whose first two episodes (12 and 15 frames) share a file of one camera."""
    shutil.copytree(dataset, target)
    images = decode_frames(dataset, [CAMERA], np.arange(27))[CAMERA]
    path = target / "videos" / CAMERA / "chunk-000" / "file-000.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"sc_threshold": "0"})
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size, stream.max_b_frames = gop, max_b_frames
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    (table_path,) = (target / "meta" / "episodes").glob("*/*.parquet")
    table = pq.read_table(table_path)
    for name, value in (("file_index", 0), ("from_timestamp", 1.2), ("to_timestamp", 2.7)):
        column = f"videos/{CAMERA}/{name}"
        values = table.column(column).to_pylist()
        position = table.column_names.index(column)
        new = pa.array([values[0], value, *values[2:]], table.schema.field(column).type)
        table = table.set_column(position, column, new)
    pq.write_table(table, table_path)
    return target


def test_an_episode_is_cut_out_of_a_shared_file(dataset: Path, tmp_path: Path) -> None:
    """Its packets only, from its first keyframe on."""
    root = in_one_file(dataset, tmp_path / "shared", gop=2, max_b_frames=0)

    encoded = encoded_episode(read_meta(root), CAMERA, 1)

    assert encoded is not None
    images = decoded([frame.data for frame in encoded.frames], encoded.codec)
    wanted = decode_frames(root, [CAMERA], np.arange(12, 27))[CAMERA]
    np.testing.assert_array_equal(np.stack(images), wanted)


def test_what_cannot_be_played_on_its_own_is_not_returned(dataset: Path, tmp_path: Path) -> None:
    """Reordered frames, and an episode that starts between keyframes."""
    reordered = in_one_file(dataset, tmp_path / "reordered", gop=12, max_b_frames=2)
    one_keyframe = in_one_file(dataset, tmp_path / "long", gop=250, max_b_frames=0)

    assert encoded_episode(read_meta(reordered), CAMERA, 0) is None
    assert encoded_episode(read_meta(one_keyframe), CAMERA, 0) is not None
    assert encoded_episode(read_meta(one_keyframe), CAMERA, 1) is None


def test_a_missing_file_is_one_error(dataset: Path, tmp_path: Path) -> None:
    """It names the file."""
    shutil.copytree(dataset, tmp_path / "broken")
    (tmp_path / "broken" / "videos" / CAMERA / "chunk-000" / "file-000.mp4").unlink()

    with pytest.raises(EpisodeError, match=r"file-000\.mp4 cannot be read"):
        encoded_episode(read_meta(tmp_path / "broken"), CAMERA, 0)
