"""LeRobot v3.0 to v2.1: the format that openpi's pinned loader reads.

The result stands alone: every file is a new one, nothing is linked. Videos are cut packet by
packet.
"""

import json
import logging
import os
import shutil
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recap_core.data import v21_layout
from recap_core.data.arrow_types import is_list, scalar_cells
from recap_core.data.columns import Feature
from recap_core.data.dataset_writer import Origin, emptied_on_error
from recap_core.data.feature_statistics import FeatureStatistics, vector_statistics
from recap_core.data.frames import column_to_numpy
from recap_core.data.index_columns import check_index_columns
from recap_core.data.label_sidecar import SIDECAR_FILES
from recap_core.data.layout import DatasetMeta, open_parquet, path_inside, read_meta
from recap_core.data.merge import episode_tables
from recap_core.data.video_cutting import Span, cut_video
from recap_core.data.video_files import image_statistics
from recap_core.progress import Bar, Progress, Silent

_log = logging.getLogger(__name__)

SIZE_LIMITS = ("data_files_size_in_mb", "video_files_size_in_mb")
"""Of v3.0 alone: a v2.1 file holds one episode, however long."""
ROWS_IN_MEMORY = 64


class ExportSummary(NamedTuple):
    """What was exported."""

    num_episodes: int
    num_frames: int
    fps: int
    cameras: tuple[str, ...]
    num_videos: int
    num_encoded_videos: int
    """Videos of one episode that could not be cut without a new, lossless encoding."""
    num_bytes: int


def export_v21(
    source: Path,
    output: Path,
    *,
    progress: Progress | None = None,
    max_workers: int | None = None,
) -> ExportSummary:
    """Write a v3.0 dataset, however its episodes share files, as a v2.1 dataset.

    Rows and their types are kept; pictures are the same bit by bit. On an error nothing is left in
    ``output``, but a kill leaves part of it: publish it by a rename.

    Args:
        source: A v3.0 dataset; only read.
        output: Directory of the v2.1 dataset; must not exist or be empty.
        progress: Who watches.
        max_workers: Video files cut at once; None: as many as there are processors, up to 8.

    Raises:
        DataError: If the source is incomplete, or ``output`` is taken.
        ColumnError: If rows are not numbered as they must be.
        EpisodeError: If a video does not hold exactly the frames of its episodes.
    """
    meta = read_meta(source)
    jobs = _video_jobs(meta, output)
    num_videos = meta.num_episodes * len(meta.cameras)
    with (
        emptied_on_error(output),
        (progress or Silent()).bar("export", meta.num_episodes + num_videos) as bar,
        ThreadPoolExecutor(max_workers or min(os.cpu_count() or 1, 8)) as threads,
    ):
        _make_directories(output, jobs)
        videos = {
            threads.submit(cut_video, path, spans, fps=meta.fps): (path, len(spans))
            for path, spans in jobs.items()
        }
        try:
            _write_rows(meta, output, bar)
            num_encoded = _finish_videos(videos, bar, done=meta.num_episodes)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
        _write_meta(meta, output)
        num_bytes = make_readable(output)
    return ExportSummary(
        num_episodes=meta.num_episodes,
        num_frames=meta.num_frames,
        fps=meta.fps,
        cameras=meta.cameras,
        num_videos=num_videos,
        num_encoded_videos=num_encoded,
        num_bytes=num_bytes,
    )


def make_readable(root: Path) -> int:
    """Let everybody read a tree and its owner write it; returns its size in bytes.

    Video libraries and read-only stores leave files that containers of other users cannot open, or
    that their owner cannot delete.
    """
    num_bytes = 0
    for directory, _, names in os.walk(root):
        Path(directory).chmod(0o755)
        for name in names:
            path = Path(directory) / name
            path.chmod(0o644)
            num_bytes += path.stat().st_size
    return num_bytes


def _video_jobs(meta: DatasetMeta, output: Path) -> dict[Path, list[Span]]:
    """Which episodes to cut out of every video file."""
    jobs: dict[Path, list[Span]] = {}
    lengths = meta.episode_lengths.tolist()
    for camera in meta.cameras:
        names = [f"videos/{camera}/{name}" for name in ("chunk_index", "file_index")]
        names.append(f"videos/{camera}/from_timestamp")
        places = zip(*(meta.episode_column(name).tolist() for name in names), strict=True)
        for episode, (chunk_index, file_index, start_s) in enumerate(places):
            target = path_inside(output, v21_layout.video_path(camera, episode))
            span = Span(episode, start_s, lengths[episode], target)
            jobs.setdefault(meta.video_path(camera, chunk_index, file_index), []).append(span)
    return jobs


def _make_directories(output: Path, jobs: Mapping[Path, list[Span]]) -> None:
    directories = {span.target.parent for spans in jobs.values() for span in spans}
    for directory in sorted({output / "meta", *directories}):
        directory.mkdir(parents=True, exist_ok=True)


def _finish_videos(
    videos: Mapping[Future[list[int]], tuple[Path, int]], bar: Bar, *, done: int
) -> int:
    """Wait for all videos; returns how many had to be encoded again."""
    num_encoded = 0
    # In order, so that of several faults the same one is reported every time.
    for job, (path, num_spans) in videos.items():
        encoded = job.result()
        if encoded:
            _log.info(
                "%d of %d episodes in %s cannot be cut without a new encoding, which is lossless: "
                "%s",
                len(encoded), num_spans, path, encoded,
            )  # fmt: skip
        num_encoded += len(encoded)
        done += num_spans
        bar.update(done)
    return num_encoded


def _write_rows(meta: DatasetMeta, output: Path, bar: Bar) -> None:
    """Parquet file, and lines of episodes.jsonl and episodes_stats.jsonl, of every episode."""
    schema = open_parquet(meta.data_files[0]).schema_arrow if meta.data_files else pa.schema([])
    listed = [
        field.name
        for field in schema
        if is_list(field.type) and meta.features.get(field.name, {}).get("shape") == [1]
    ]
    metadata = _as_v21(schema.metadata or {}, {name: meta.features[name] for name in listed})
    first_index = 0
    with (
        (output / v21_layout.EPISODES).open("w", encoding="ascii") as episodes,
        (output / v21_layout.STATISTICS).open("w", encoding="ascii") as statistics,
    ):
        tables = episode_tables(meta, schema.names)
        for episode, (row, table) in enumerate(zip(_episode_rows(meta), tables, strict=True)):
            check_index_columns(
                table,
                episode=episode,
                first_index=first_index,
                fps=meta.fps,
                where=f"episode {episode} of {meta.root}",
            )
            rows = pa.table(
                [
                    scalar_cells(cells, name=name) if name in listed else cells
                    for name, cells in zip(table.column_names, table.columns, strict=True)
                ],
                table.column_names,
                metadata=metadata,
            )
            path = output / v21_layout.data_path(episode)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, path, compression="snappy")
            episodes.write(json.dumps(_episode_line(row)) + "\n")
            stats = {
                name: {key: value.tolist() for key, value in values.items()}
                for name, values in _statistics(meta, row, table).items()
            }
            statistics.write(json.dumps({"episode_index": episode, "stats": stats}) + "\n")
            first_index += table.num_rows
            bar.update(episode + 1)


def _as_v21(metadata: Mapping[bytes, bytes], scalars: Mapping[str, Feature]) -> dict[bytes, bytes]:
    """Schema metadata as older releases of Hugging Face's datasets read it.

    They know lists by the name ``Sequence``, and refuse ``List``. ``scalars`` are columns that were
    lists of one.
    """

    def renamed(value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, list):
            return [renamed(item) for item in value]
        if not isinstance(value, dict):
            return value
        old = {key: renamed(item) for key, item in value.items()}
        return old | {"_type": "Sequence"} if old.get("_type") == "List" else old

    described = metadata.get(b"huggingface")
    if described is None:
        return dict(metadata)
    content = renamed(json.loads(described))
    for name, feature in scalars.items():
        content["info"]["features"][name] = {"dtype": feature["dtype"], "_type": "Value"}
    return {**metadata, b"huggingface": json.dumps(content).encode()}


def _episode_rows(meta: DatasetMeta) -> Generator[dict[str, Any]]:
    for batch in meta.episodes_with_statistics().to_batches(max_chunksize=ROWS_IN_MEMORY):
        yield from batch.to_pylist()


def _episode_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of episodes.jsonl; where an episode comes from is ours, and ignored by others."""
    line = {name: row[name] for name in ("episode_index", "tasks", "length")}
    return line | {name: row[name] for name in Origin._fields if row.get(name) is not None}


def _statistics(
    meta: DatasetMeta, row: Mapping[str, Any], table: pa.Table
) -> dict[str, FeatureStatistics]:
    """Statistics of one episode: those of meta/episodes, or taken now where there are none."""
    found: dict[str, FeatureStatistics] = {}
    for key, value in row.items():
        prefix, _, rest = key.partition("/")
        if prefix == "stats" and value is not None:
            feature, _, name = rest.rpartition("/")
            found.setdefault(feature, {})[name] = np.array(value)
    result = {}
    for name, feature in meta.features.items():
        if set(found.get(name, ())) >= v21_layout.REQUIRED_STATISTICS:
            result[name] = found[name]
        elif feature["dtype"] == "video":
            chunk_index, file_index = (
                row[f"videos/{name}/{key}"] for key in ("chunk_index", "file_index")
            )
            result[name] = image_statistics(
                meta.video_path(name, chunk_index, file_index),
                start_s=row[f"videos/{name}/from_timestamp"] - 0.5 / meta.fps,
                num_frames=row["length"],
            )
        elif feature["dtype"] not in ("string", "image"):
            values = column_to_numpy(table.column(name))
            result[name] = vector_statistics(values.reshape(len(values), -1))
    return result


def _write_meta(meta: DatasetMeta, output: Path) -> None:
    """Tasks, where labels come from if it is known, and info.json last."""
    for name in SIDECAR_FILES:
        if (meta.root / name).is_file():
            shutil.copyfile(meta.root / name, output / name)
    v21_layout.write_json_lines(
        output / v21_layout.TASKS,
        ({"task_index": index, "task": task} for index, task in enumerate(meta.tasks)),
    )
    per_chunk = v21_layout.EPISODES_PER_CHUNK
    info = {key: value for key, value in meta.info.items() if key not in SIZE_LIMITS}
    info |= {
        "codebase_version": v21_layout.VERSION,
        "total_episodes": meta.num_episodes,
        "total_frames": meta.num_frames,
        "total_tasks": len(meta.tasks),
        "total_videos": meta.num_episodes * len(meta.cameras),
        "total_chunks": -(-meta.num_episodes // per_chunk),
        "chunks_size": per_chunk,
        "splits": {"train": f"0:{meta.num_episodes}"},
        "data_path": v21_layout.DATA_PATH,
        "video_path": v21_layout.VIDEO_PATH if meta.cameras else None,
    }
    (output / v21_layout.INFO).write_text(json.dumps(info, indent=4))
