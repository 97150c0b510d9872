"""OpenTau: the advantage of every frame in one JSON file, keyed by episode and time."""

import json
import math
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from recap_core.config.interchange import ExportLabelsConfig
from recap_core.data.frames import FrameTable
from recap_core.data.interchange.exchanged import (
    ExchangedLabels,
    advantages,
    codes_of,
    exchanged_labels,
    positives,
)
from recap_core.data.interchange.rows import rows_by_frame
from recap_core.errors import ColumnError, DataError

ADVANTAGES_FILE = "meta/advantages.json"


def read_opentau(source: Path, table: FrameTable, *, threshold: float) -> ExchangedLabels:
    """Read OpenTau's advantages; a frame is positive from ``threshold`` upwards.

    OpenTau compares the two as bfloat16, which has three digits, and so do we. Keys are matched to
    the nearest frame of their episode, less than half a frame away, because their seconds may have
    been written from another float than the dataset's.

    Args:
        source: The JSON file, or the dataset with it in ``meta/``.
        table: The dataset that was labelled.
        threshold: ``advantage_threshold`` of OpenTau's policy.

    Raises:
        DataError: If there is no such file, or it is not JSON of that form.
        ColumnError: If keys and frames do not match one to one, or a number is not finite.
    """
    path = source if source.is_file() else source / ADVANTAGES_FILE
    keys, episode, time_s, advantage = _parse(path)
    frame_of_row = _nearest_frames(table, episode, time_s)
    rows = rows_by_frame(
        table, frame_of_row, where=str(path), row_name=lambda row: f"key {keys[row]!r}"
    )
    advantage = advantage[rows]
    return exchanged_labels(codes_of(is_positive(advantage, threshold)), advantage, where=str(path))


def is_positive(advantage: Float64[np.ndarray, " n"], threshold: float) -> Bool[np.ndarray, " n"]:
    """Whether OpenTau's policy is told that a frame is positive.

    Args:
        advantage: As the file has it; finite.
        threshold: ``advantage_threshold`` of the policy.
    """
    return _bfloat16(advantage) >= _bfloat16(np.array([threshold]))


def _bfloat16(numbers: Float64[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """Rounded to the nearest bfloat16, ties to even."""
    with np.errstate(over="ignore"):  # infinity compares as the large number would
        bits = numbers.astype(np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


def _parse(
    path: Path,
) -> tuple[
    list[str], Int64[np.ndarray, " r"], Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]
]:
    """Keys as they are written, and the three numbers of every entry."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            raise DataError(
                f"{path} has {len(pairs) - len(entries)} keys twice. Compute the advantages again."
            )
        return entries

    try:
        entries = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"advantages {path} cannot be read ({error}). Check the path, or compute them again."
        ) from error
    if not isinstance(entries, dict):
        raise DataError(
            f"{path} holds a JSON {type(entries).__name__}, not numbers by 'episode,seconds'. "
            "Check the path."
        )
    numbers = np.array([_entry(path, *entry) for entry in entries.items()]).reshape(-1, 3)
    return list(entries), numbers[:, 0].astype(np.int64), numbers[:, 1], numbers[:, 2]


def _entry(path: Path, key: str, value: object) -> tuple[int, float, float]:
    """Episode, seconds and advantage of one entry."""
    episode, _, seconds = key.partition(",")
    try:
        numbers = int(episode), float(seconds), float(value)  # pyright: ignore[reportArgumentType] - what is no number raises
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path} has the entry {key!r}: {value!r}, but keys are 'episode,seconds' and values "
            "are numbers. Compute the advantages again."
        ) from error
    if isinstance(value, bool) or abs(numbers[0]) > 2**53 or not all(map(math.isfinite, numbers)):
        raise ColumnError(
            f"{path} has the entry {key!r}: {value!r}; every number must be finite. Compute the "
            "advantages again."
        )
    return numbers


def _nearest_frames(
    table: FrameTable, episode: Int64[np.ndarray, " r"], time_s: Float64[np.ndarray, " r"]
) -> Int64[np.ndarray, " r"]:
    """Global index of the frame at each time; -1 if none is less than half a frame away."""
    found = np.full(len(episode), -1, dtype=np.int64)
    stamps = table.column("timestamp").astype(np.float64)
    order = np.argsort(episode, kind="stable")
    bounds = np.searchsorted(episode[order], np.arange(len(table.episode_lengths) + 1))
    for number, start in enumerate(table.episode_starts):
        rows = order[bounds[number] : bounds[number + 1]]
        own = stamps[start : table.episode_ends[number]]
        after = np.clip(np.searchsorted(own, time_s[rows]), 1, max(len(own) - 1, 1))
        candidates = np.minimum(np.stack([after - 1, after]), len(own) - 1)
        distances = np.abs(own[candidates] - time_s[rows])
        nearest = np.argmin(distances, axis=0)
        columns = np.arange(len(rows))
        is_near = distances[nearest, columns] < 0.5 / table.fps
        found[rows[is_near]] = start + candidates[nearest, columns][is_near]
    return found


def write_opentau(
    output: Path, table: FrameTable, exchanged: ExchangedLabels, config: ExportLabelsConfig
) -> float:
    """Write ``meta/advantages.json``.

    OpenTau has no labels: it compares each advantage with one threshold, both as bfloat16. So the
    labels must be what such a comparison gives, or be written as signs.

    Args:
        output: An existing directory.
        table: The dataset.
        exchanged: Its labels.
        config: Signs or advantages, and what becomes of frames without label or advantage.

    Returns:
        The ``advantage_threshold`` that gives these labels.

    Raises:
        ColumnError: If labels or advantages are missing and the config does not say what then, or
            no threshold gives these labels.
    """
    label = positives(exchanged.labels, none_as=config.none_as)
    if config.signs:
        advantage = np.where(label, np.float32(1), np.float32(-1))
    else:
        advantage = advantages(exchanged.labels, fill=config.fill_advantage)
    if advantage is None:
        raise ColumnError(
            "these labels have no advantages, and OpenTau's file holds nothing else. Write them "
            "as +1 and -1 with signs (--signs)."
        )
    texts = [f"{value:.6f}" for value in advantage.tolist()]
    rounded = np.array(texts, dtype=np.float64)
    threshold = 0.0 if config.signs else _threshold(rounded, label)
    # OpenTau looks a frame up by its float32 time as a Python number: no other digits will do.
    times_s = table.column("timestamp").astype(np.float32)
    pairs = zip(table.episode_index.tolist(), list(map(float, times_s)), strict=True)
    keys = [f"{episode},{time_s}" for episode, time_s in pairs]
    path = output / ADVANTAGES_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(zip(keys, texts, strict=True)), indent=4), encoding="utf-8")
    return threshold


def _threshold(advantage: Float64[np.ndarray, " n"], label: Bool[np.ndarray, " n"]) -> float:
    """The smallest positive advantage, if OpenTau judges no negative frame positive with it."""
    if not label.any():
        return 2 * float(np.abs(advantage).max()) + 1
    threshold = float(advantage[label].min())
    wrong = np.flatnonzero(~label & is_positive(advantage, threshold))
    if wrong.size:
        raise ColumnError(
            f"no threshold gives these labels: a frame with advantage {threshold:.6f} is positive, "
            f"and so would be {wrong.size} of {len(advantage)} frames that are negative (first: "
            f"frame {wrong[0]}, {advantage[wrong[0]]:.6f}). Corrections are positive whatever "
            "their advantage, thresholds can differ by task, and OpenTau rounds to three digits; "
            "write the labels as +1 and -1 with signs (--signs)."
        )
    return threshold
