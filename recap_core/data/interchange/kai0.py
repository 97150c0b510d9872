"""kai0: the label of a frame at the end of its task text, which ``task_index`` chooses."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from recap_core.data.dataset_writer import write_tasks
from recap_core.data.frames import FrameTable
from recap_core.data.interchange.exchanged import ExchangedLabels, exchanged_labels
from recap_core.data.interchange.rows import EPISODE, FRAME, read_rows, rows_by_key
from recap_core.data.layout import open_parquet
from recap_core.data.rewrite import rewrite_columns, rewrite_statistics, statistics_files
from recap_core.errors import ColumnError, DataError
from recap_core.labels.adv_ind import NAMES, NEGATIVE, NONE, POSITIVE
from recap_core.lineage.digest_cache import DigestCache

SEPARATOR = ", Advantage: "
TASK = "task_index"
_TASKS = "meta/tasks.parquet"


def read_kai0(source: Path, table: FrameTable) -> ExchangedLabels:
    """Read the labels from the task texts of a dataset that kai0 discretised in two classes.

    A frame whose task text has no tag is labelled ``none``. The wording of the tasks themselves is
    not compared: kai0's script replaces it.

    Args:
        source: The discretised dataset, v2.1 or v3.0.
        table: The dataset that these labels are for: the same frames.

    Raises:
        DataError: If ``source`` is no dataset, or cannot be read.
        ColumnError: If rows and frames do not match, or a task is unknown or tagged otherwise.
    """
    paths = sorted((source / "data").glob("*/*.parquet"))
    if not paths:
        raise DataError(f"{source} has no data/*/*.parquet, so it is no dataset. Check the path.")
    texts = _read_tasks(source)
    codes = {index: _code(text, source) for index, text in texts.items()}
    if all(code == NONE for code in codes.values()):
        raise ColumnError(
            f"no task of {source} ends with '{SEPARATOR}positive' or '{SEPARATOR}negative' (first: "
            f"{next(iter(texts.values()), 'there is no task')!r}). Discretise its advantages first."
        )
    columns = read_rows(paths, [TASK])
    task_index = columns[TASK]
    unknown = np.flatnonzero(~np.isin(task_index, list(codes)))
    if task_index.dtype.kind not in "iu" or unknown.size:
        raise ColumnError(
            f"{TASK} of {source} is {task_index[unknown[0]] if unknown.size else task_index.dtype}"
            f", which is no task of meta/ ({unknown.size} of {len(task_index)} rows). Discretise "
            "the dataset again."
        )
    rows = rows_by_key(table, columns[EPISODE], columns[FRAME], where=str(source))
    known, position = np.unique(task_index[rows], return_inverse=True)
    adv_ind = np.array([codes[index] for index in known.tolist()], dtype=np.int8)[position]
    return exchanged_labels(adv_ind, where=str(source))


def _code(text: str, source: Path) -> int:
    _, separator, label = text.rpartition(SEPARATOR)
    if not separator:
        return NONE
    if label not in (NAMES[NEGATIVE], NAMES[POSITIVE]):
        raise ColumnError(
            f"task {text!r} of {source} is tagged {label!r}, but only positive and negative are "
            "labels. Discretise in two classes (binary), not in slices."
        )
    return NAMES.index(label)


def _read_tasks(source: Path) -> dict[int, str]:
    """Task texts by index: ``tasks.jsonl``, which kai0 writes also into v3.0, or the parquet."""
    path = source / "meta" / "tasks.jsonl"
    if not path.is_file():
        table = open_parquet(source / _TASKS).read()
        name = "task" if "task" in table.column_names else "__index_level_0__"
        if not {TASK, name} <= set(table.column_names):
            raise ColumnError(
                f"{source / _TASKS} has the columns {', '.join(table.column_names)}, but "
                "task_index and task are needed. Discretise the dataset again."
            )
        return dict(zip(table[TASK].to_pylist(), table[name].to_pylist(), strict=True))
    tasks: dict[int, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines if line.strip()]
        for entry in entries:
            tasks[int(entry[TASK])] = str(entry["task"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}); every line is a JSON object "
            "with task_index and task. Discretise the dataset again."
        ) from error
    if len(tasks) < len(entries):
        raise ColumnError(
            f"{path} has {len(entries)} lines for {len(tasks)} tasks, so an index has two texts. "
            "Discretise the dataset again."
        )
    return tasks


def write_kai0(
    output: Path,
    table: FrameTable,
    exchanged: ExchangedLabels,
    *,
    share: bool = True,
    digests: DigestCache | None = None,
) -> None:
    """Write the dataset with a tagged task for each label, and ``task_index`` accordingly.

    Task i becomes 2i with the tag negative and 2i + 1 with positive; tasks of frames without a
    label follow untagged. The result is v3.0; kai0 reads it after an export to v2.1.

    Args:
        output: Directory of the new dataset; exists and is empty.
        table: The dataset.
        exchanged: Its labels; the format holds nothing else of them.
        share: Hard-link the videos; else copy them. Everything else is copied.
        digests: The store's digest cache, if the dataset is in a store.

    Raises:
        ColumnError: If a task text has a tag already.
    """
    meta = table.meta
    tagged = [text for text in table.tasks if SEPARATOR in text]
    if tagged:
        raise ColumnError(
            f"task {tagged[0]!r} of {meta.root} has a tag already ({len(tagged)} of "
            f"{len(table.tasks)} tasks). Export the dataset that these labels were imported to."
        )
    texts, task_index = _tagged_tasks(table, exchanged)
    rewrite_columns(
        meta,
        output,
        {TASK: pa.array(task_index)},
        features={},
        info={"total_tasks": len(texts)},
        left_out=[*statistics_files(meta), _TASKS],
        shared="videos" if share else "nothing",
        digests=digests,
    )
    write_tasks(texts, output / _TASKS)
    ends = table.episode_ends.tolist()
    own = [np.unique(task_index[a:b]) for a, b in zip(table.episode_starts, ends, strict=True)]
    tasks = [[texts[index] for index in indices] for indices in own]
    rewrite_statistics(meta, output, {TASK: task_index}, tasks=tasks)


def _tagged_tasks(
    table: FrameTable, exchanged: ExchangedLabels
) -> tuple[list[str], Int64[np.ndarray, " n"]]:
    """Task texts, and the task of every frame."""
    adv_ind = exchanged.labels.adv_ind
    texts = [f"{text}{SEPARATOR}{NAMES[k]}" for text in table.tasks for k in (NEGATIVE, POSITIVE)]
    task_index = 2 * table.task_index.astype(np.int64) + (adv_ind == POSITIVE)
    without = np.unique(table.task_index[adv_ind == NONE]).tolist()
    untagged = {task: len(texts) + i for i, task in enumerate(without)}
    for task, index in untagged.items():
        task_index[(adv_ind == NONE) & (table.task_index == task)] = index
    return texts + [table.tasks[task] for task in untagged], task_index
