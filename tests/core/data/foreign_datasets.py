"""Datasets of LeRobot's own writer, altered and imported."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recap_core.config.import_dataset import ImportConfig
from recap_core.data.adopt import adopt_dataset
from recap_core.data.frames import FrameTable, read_frames

TOP = "observation.images.top"
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = f"videos/{TOP}/chunk-000/file-000.mp4"
LENGTHS = (5, 6, 4)
"""Frames of the three episodes of the fixture ``foreign``."""
RECAP = ("intervention", "reward", "reward_label", "value_label", "adv_ind", "phase")


def tree(root: Path) -> dict[str, bytes]:
    """Every file with a digest of its content."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).digest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def per_frame(values: list[Any]) -> list[Any]:
    """One value per episode, repeated for its frames."""
    return [v for value, length in zip(values, LENGTHS, strict=True) for v in [value] * length]


def at_end(values: list[Any], elsewhere: object = 0) -> list[Any]:
    """One value per episode at its last frame."""
    return [
        value if t == length - 1 else elsewhere
        for value, length in zip(values, LENGTHS, strict=True)
        for t in range(length)
    ]


def feature(dtype: str, shape: tuple[int, ...] = (1,)) -> dict[str, Any]:
    """What ``info.json`` says of a column."""
    return {"dtype": dtype, "shape": list(shape), "names": None}


def altered(
    foreign: Path,
    target: Path,
    *,
    without: tuple[str, ...] = (),
    columns: Mapping[str, tuple[str, Any]] | None = None,
    episodes: Mapping[str, Any] | None = None,
    info: Callable[[dict[str, Any]], Any] = lambda _: None,
) -> Path:
    """A copy of a dataset with other columns (dtype and values), episode metadata and info."""
    root = shutil.copytree(foreign, target)
    described = json.loads((root / "meta/info.json").read_text())
    table = pq.read_table(root / DATA).drop_columns(list(without))
    for name in without:
        del described["features"][name]
    for name, (dtype, values) in (columns or {}).items():
        array = values if isinstance(values, pa.Array) else pa.array(values)
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, array)
        described["features"].setdefault(name, feature(dtype))
    info(described)
    (root / "meta/info.json").write_text(json.dumps(described))
    pq.write_table(table, root / DATA)
    if episodes:
        rows = pq.read_table(root / EPISODES)
        for name, values in episodes.items():
            if name in rows.column_names:
                rows = rows.drop_columns([name])
            rows = rows.append_column(name, pa.array(values))
        pq.write_table(rows, root / EPISODES)
    return root


def adopt(root: Path, output: Path, **settings: object) -> FrameTable:
    """Import with these settings, and read the result."""
    adopt_dataset(root, output, ImportConfig.model_validate(settings))
    return read_frames(output)
