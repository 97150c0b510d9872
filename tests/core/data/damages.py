"""Ways to spoil a recording or a dataset: each takes its root and changes a copy in place."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recap_core.data.video_files import encode_video

type Damage = Callable[[Path], object]

INFO = "meta/info.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
DATA = "data/chunk-000/file-000.parquet"
CAMERA = "observation.images.head_camera"
VIDEO = f"videos/{CAMERA}/chunk-000/file-000.mp4"


def write(file: str, content: bytes) -> Damage:
    """Replace a file's content."""
    return lambda root: (root / file).write_bytes(content)


def cut(file: str, keep: float | int) -> Damage:
    """Keep the first bytes: a share of them, or without the last ``-keep``."""

    def damage(root: Path) -> None:
        content = (root / file).read_bytes()
        size = int(keep * len(content)) if 0 <= keep < 1 else int(keep)
        (root / file).write_bytes(content[:size])

    return damage


def grow(file: str, size: int) -> Damage:
    """Make a file of ``size`` bytes that takes no space."""
    return lambda root: os.truncate(root / file, size)


def flip(file: str, at: float) -> Damage:
    """Change 64 bytes at a share of the file."""

    def damage(root: Path) -> None:
        content = bytearray((root / file).read_bytes())
        start = int(at * len(content))
        content[start : start + 64] = bytes(255 - byte for byte in content[start : start + 64])
        (root / file).write_bytes(content)

    return damage


def remove(file: str) -> Damage:
    """Remove a file or a directory."""

    def damage(root: Path) -> None:
        path = root / file
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def directory(file: str) -> Damage:
    """Put a directory in a file's place."""

    def damage(root: Path) -> None:
        (root / file).unlink(missing_ok=True)
        (root / file).mkdir()

    return damage


def symlink(file: str) -> Damage:
    """Move a file out and leave a symbolic link to it."""

    def damage(root: Path) -> None:
        target = root.parent / f"{root.name}-outside"
        shutil.move(root / file, target)
        (root / file).symlink_to(target)

    return damage


def copy(file: str, target: str) -> Damage:
    """Put a copy of a file somewhere else."""
    return lambda root: shutil.copy(root / file, root / target)


def info(**values: object) -> Damage:
    """Change keys of ``info.json``; None removes one."""

    def damage(root: Path) -> None:
        content = json.loads((root / INFO).read_text()) | values
        content = {key: value for key, value in content.items() if value is not None}
        (root / INFO).write_text(json.dumps(content))

    return damage


def feature(name: str, described: dict[str, Any] | None) -> Damage:
    """Replace a feature in ``info.json``; None removes it."""

    def damage(root: Path) -> None:
        content = json.loads((root / INFO).read_text())
        content["features"][name] = described
        if described is None:
            del content["features"][name]
        (root / INFO).write_text(json.dumps(content))

    return damage


def column(file: str, name: str, change: Callable[[list[Any]], list[Any]]) -> Damage:
    """Change a column's values; its type becomes what they are, its place stays."""

    def damage(root: Path) -> None:
        table = pq.read_table(root / file)
        field = table.schema.field(name)
        values = change(table.column(name).to_pylist())
        try:
            array = pa.array(values, field.type)
        except (pa.ArrowException, TypeError):
            array = pa.array(values)
        position = table.schema.get_field_index(name)
        pq.write_table(table.set_column(position, name, array), root / file)

    return damage


def cast(file: str, name: str, kind: pa.DataType) -> Damage:
    """Store a column as another type."""

    def damage(root: Path) -> None:
        table = pq.read_table(root / file)
        position = table.schema.get_field_index(name)
        cells = table.column(name).cast(kind)
        pq.write_table(table.set_column(position, name, cells), root / file)

    return damage


def drop(file: str, name: str) -> Damage:
    """Remove a column."""
    return lambda root: pq.write_table(pq.read_table(root / file).drop_columns([name]), root / file)


def rows(file: str, order: Callable[[int], list[int]]) -> Damage:
    """Take other rows: fewer, more, or in another order."""

    def damage(root: Path) -> None:
        table = pq.read_table(root / file)
        pq.write_table(table.take(pa.array(order(table.num_rows), pa.int64())), root / file)

    return damage


def put(values: dict[int, Any]) -> Callable[[list[Any]], list[Any]]:
    """Other values at some positions."""
    return lambda old: [values.get(i, value) for i, value in enumerate(old)]


def video(file: str, num_frames: int, *, px: int = 32) -> Damage:
    """Another video."""

    def damage(root: Path) -> None:
        frames = (np.full((px, px, 3), 60 + 9 * i, dtype=np.uint8) for i in range(num_frames))
        encode_video(frames, root / file, fps=10)

    return damage


def sound(file: str) -> Damage:
    """A file with a sound track and no picture."""

    def damage(root: Path) -> None:
        with av.open(str(root / file), "w", format="mp4") as container:
            stream = container.add_stream("aac", rate=8000)
            samples = np.zeros((1, 8000), dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())

    return damage


def array(file: str, values: np.ndarray) -> Damage:
    """Another array, also of objects."""

    def damage(root: Path) -> None:
        with (root / file).open("wb") as stream:
            np.save(stream, values, allow_pickle=True)

    return damage


def archive(file: str, **arrays: np.ndarray) -> Damage:
    """Other arrays in an archive, also of objects."""

    def damage(root: Path) -> None:
        with (root / file).open("wb") as stream:
            np.savez(stream, allow_pickle=True, **arrays)

    return damage


def metadata(file: str, **values: object) -> Damage:
    """Change keys of ``metadata.json``."""

    def damage(root: Path) -> None:
        path = root / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


def both(*damages: Damage) -> Damage:
    """One damage after the other."""

    def damage(root: Path) -> None:
        for each in damages:
            each(root)

    return damage
