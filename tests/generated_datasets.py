"""Datasets of the generated store: a few real episodes, copied over and over."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    write_synthetic_dataset,
)

TASKS = ("transfer cube", "insert peg")
DATA_FILE = Path("data/chunk-000/file-000.parquet")
EPISODES_FILE = Path("meta/episodes/chunk-000/file-000.parquet")
MACHINE = SyntheticRobot(arms=("left", "right"), num_joints=1, cameras=(), image_px=16)


class Part(NamedTuple):
    """Episodes of one recording inside a dataset."""

    source: str
    round_index: int
    likeness: int
    """Which of the few episode sets they are a copy of."""


class _Tables(NamedTuple):
    data: pa.Table
    episodes: pa.Table
    info: dict[str, Any]
    others: dict[str, bytes]
    """Files of ``meta`` that are the same in every dataset."""


def episodes_like(likeness: int, *, demonstrations: bool) -> tuple[SyntheticEpisode, ...]:
    if demonstrations:
        lengths = (9, 11, 10, 8)
        return tuple(
            SyntheticEpisode(length=n, demonstration=True, task=TASKS[i % 2])
            for i, n in enumerate(lengths)
        )
    return (
        SyntheticEpisode(length=12),
        SyntheticEpisode(length=11 + likeness, interventions=(6, 7, 8)),
        SyntheticEpisode(length=10, success=likeness % 2 == 0, interventions=(4, 5)),
        SyntheticEpisode(length=9 + likeness, success=False, task=TASKS[1]),
    )


@cache
def _tables(likeness: int, *, demonstrations: bool) -> _Tables:
    """A dataset that the real converter wrote, in memory."""
    episodes = episodes_like(likeness, demonstrations=demonstrations)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "dataset"
        write_synthetic_dataset(root, episodes, MACHINE)
        read = [pq.read_table(root / file) for file in (DATA_FILE, EPISODES_FILE)]
        info = json.loads((root / "meta" / "info.json").read_text())
        names = ("tasks.parquet", "stats.json")
        others = {name: (root / "meta" / name).read_bytes() for name in names}
    kept = [name for name in read[1].column_names if not name.startswith("stats/")]
    return _Tables(read[0], read[1].select(kept), info, others)


def write_dataset(
    output: Path, parts: Sequence[Part], *, demonstrations: bool = False
) -> dict[str, Any]:
    """Write a dataset of those parts; its details."""
    data: list[pa.Table] = []
    episodes: list[pa.Table] = []
    num_frames, num_episodes = 0, 0
    for part in parts:
        is_shown = demonstrations or part.round_index == 0
        tables = _tables(0 if is_shown else part.likeness, demonstrations=is_shown)
        offsets = {"index": num_frames, "episode_index": num_episodes}
        data.append(_shifted(tables.data, offsets))
        shifts = {
            "episode_index": num_episodes,
            "dataset_from_index": num_frames,
            "dataset_to_index": num_frames,
        }
        rows = _shifted(tables.episodes, shifts)
        rows = _filled(rows, "source", pa.array([part.source] * rows.num_rows))
        rounds = pa.array([part.round_index] * rows.num_rows, pa.int64())
        episodes.append(_filled(rows, "round", rounds))
        num_frames += tables.data.num_rows
        num_episodes += tables.episodes.num_rows
    for file, made in ((DATA_FILE, data), (EPISODES_FILE, episodes)):
        (output / file).parent.mkdir(parents=True)
        pq.write_table(pa.concat_tables(made), output / file)
    likeness = _tables(0, demonstrations=True)
    for name, content in likeness.others.items():
        (output / "meta" / name).write_bytes(content)
    info = dict(likeness.info)
    info |= {"total_episodes": num_episodes, "total_frames": num_frames}
    info["splits"] = {"train": f"0:{num_episodes}"}
    (output / "meta" / "info.json").write_text(json.dumps(info, indent=4))
    return {
        "format_version": "v3.0", "num_episodes": num_episodes, "num_frames": num_frames,
        "fps": MACHINE.fps, "tasks": TASKS, "cameras": (),
        "num_rounds": len({part.round_index for part in parts}),
    }  # fmt: skip


def _shifted(table: pa.Table, offsets: Mapping[str, int]) -> pa.Table:
    for name, offset in offsets.items():
        table = _filled(table, name, pc.call_function("add", [table.column(name), offset]))
    return table


def _filled(table: pa.Table, name: str, column: Any) -> pa.Table:  # noqa: ANN401 - arrow's arrays
    place = table.column_names.index(name)
    return table.set_column(place, table.schema.field(name), column)
