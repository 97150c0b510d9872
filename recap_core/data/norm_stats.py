"""Normalisation statistics of state and actions, from parquet alone, in openpi's file format."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from recap_core.config.dataset import NormStatsConfig
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.data.aloha_space import actions_to_pi, state_to_pi
from recap_core.data.batches import chunk_indices
from recap_core.data.columns import check_finite
from recap_core.data.frame_windows import FrameWindow, frame_windows
from recap_core.data.layout import DatasetMeta, read_meta
from recap_core.data.running_stats import FeatureNorm, RunningStats, count_between
from recap_core.errors import ColumnError, DataError

FRAMES_PER_BLOCK = 8192

type NormStatistics = dict[str, FeatureNorm]
"""``state`` and ``actions``."""


def _delta_dims(run_lengths: tuple[int, ...], num_dims: int) -> Bool[np.ndarray, " a"]:
    """The run-length mask as one flag per action dimension; dims beyond it are absolute."""
    flags = np.concatenate(
        [np.zeros(0, dtype=bool)] + [np.full(abs(run), fill_value=run > 0) for run in run_lengths]
    )
    if len(flags) > num_dims:
        raise ColumnError(
            f"delta_mask {run_lengths} describes {len(flags)} action dims, but the dataset has "
            f"{num_dims}. Correct the embodiment."
        )
    return np.pad(flags, (0, num_dims - len(flags)))


def _state_blocks(meta: DatasetMeta, config: NormStatsConfig) -> Iterator[Float[np.ndarray, "m s"]]:
    """State of successive frames."""
    embodiment = config.embodiment
    for window in frame_windows(meta, embodiment.state, num_frames=FRAMES_PER_BLOCK):
        yield _state(window, embodiment, meta)[window.frames - window.first]


def _require_numbers(name: str, values: np.ndarray, meta: DatasetMeta) -> None:
    if values.dtype.kind not in "iuf":
        raise ColumnError(
            f"{name} of {meta.root} holds {values.dtype}, which has no statistics. "
            "Name a column of numbers as state or action."
        )


def _state(
    window: FrameWindow, embodiment: EmbodimentConfig, meta: DatasetMeta
) -> Float[np.ndarray, "n s"]:
    """The features that make up the state, side by side, in the model's space."""
    names = embodiment.state
    for name in names:
        _require_numbers(name, window.columns[name], meta)
        check_finite(name, window.columns[name], where=str(meta.root), first=window.first)
    columns = [window.columns[name] for name in names]
    state = np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1)
    return state_to_pi(state) if embodiment.adapt_to_pi else state


def _action_blocks(
    meta: DatasetMeta, config: NormStatsConfig
) -> Iterator[Float[np.ndarray, "m a"]]:
    """Action vectors of the chunks of successive frames, relative where the mask says so."""
    embodiment = config.embodiment
    ends = np.cumsum(meta.episode_lengths)
    names = list(dict.fromkeys([*embodiment.state, embodiment.action]))
    for window in frame_windows(meta, names, num_frames=FRAMES_PER_BLOCK):
        actions, first = window.columns[embodiment.action], window.first
        _require_numbers(embodiment.action, actions, meta)
        check_finite(embodiment.action, actions, where=str(meta.root), first=first)
        actions = actions.reshape(len(actions), -1)  # one dimension is read as a scalar
        if embodiment.adapt_to_pi:
            actions = actions_to_pi(actions)
        is_delta = _delta_dims(embodiment.delta_mask, actions.shape[1])
        state = _state(window, embodiment, meta)[window.frames - first]
        wanted, _ = chunk_indices(ends, window.frames, horizon=config.action_horizon)
        # One dimension after the other in memory: that is how they are sorted and counted.
        block = np.empty((actions.shape[1], *wanted.shape), dtype=actions.dtype)
        for dim, column in enumerate(np.ascontiguousarray(actions.T)):
            np.take(column, wanted - first, out=block[dim], mode="clip")
            if is_delta[dim]:
                block[dim] -= state[:, dim, None]
        yield block.reshape(len(block), -1).T


def _exact(blocks: list[Iterator[Float[np.ndarray, "m d"]]]) -> FeatureNorm:
    """Float64 moments and exact order statistics, in three passes over the data.

    The quantile is the smallest value with at least that share of the values at or below it. A
    histogram finds its bin; the values of that bin are then sorted.
    """
    first, second, third = blocks
    count = 0
    shift = low = high = total = square = np.zeros(0)
    for block in first:
        values = block.astype(np.float64)
        if not count:
            shift = low = high = values[0].copy()
            total = square = np.zeros(len(shift))
        count += len(values)
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        total = total + (values - shift).sum(axis=0)
        square = square + np.square(values - shift).sum(axis=0)
    if count < 2:
        raise DataError(f"statistics need at least 2 frames, got {count}. Record more data.")
    num_dims = len(shift)
    edges = [np.linspace(low[dim], high[dim], 5001) for dim in range(num_dims)]
    counts = np.zeros((num_dims, 5000), dtype=np.int64)
    for block in second:
        for dim, column in enumerate(np.sort(block.T, axis=1)):
            counts[dim] += count_between(column, edges[dim])
    ranks = {share: max(int(np.ceil(share * count - 1e-9)), 1) for share in (0.01, 0.99)}
    cumulative = counts.cumsum(axis=1)
    found: dict[tuple[float, int], list[np.ndarray]] = {}
    bins = {
        (share, dim): int(np.searchsorted(cumulative[dim], rank))
        for share, rank in ranks.items()
        for dim in range(num_dims)
    }
    for block in third:
        for (share, dim), index in bins.items():
            values = block[:, dim].astype(np.float64)
            inside = (values >= edges[dim][index]) & (values <= edges[dim][index + 1])
            found.setdefault((share, dim), []).append(values[inside])
    quantiles = {}
    for (share, dim), parts in found.items():
        values = np.sort(np.concatenate(parts))
        # Values on the bin's lower edge are counted in it; those on its upper edge sort last.
        before = int(cumulative[dim, bins[share, dim]] - counts[dim, bins[share, dim]])
        quantiles[share, dim] = values[ranks[share] - before - 1]
    mean = total / count
    return FeatureNorm(
        mean=shift + mean,
        std=np.sqrt(np.maximum(square / count - np.square(mean), 0)),
        q01=np.array([quantiles[0.01, dim] for dim in range(num_dims)]),
        q99=np.array([quantiles[0.99, dim] for dim in range(num_dims)]),
    )


def _histogram(blocks: Iterator[Float[np.ndarray, "m d"]]) -> FeatureNorm:
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        running = RunningStats(threads)
        for block in blocks:
            running.update(block)
        return running.result()


def compute_norm_stats(root: Path, config: NormStatsConfig) -> NormStatistics:
    """Statistics of a dataset's ``state`` and ``actions``; no image is decoded.

    Every frame counts once for the state, and with its whole action chunk for the actions: the last
    action is repeated past the end of an episode, and the dims of ``delta_mask`` are relative to
    the state of the chunk's first frame, as openpi trains. With ``adapt_to_pi``, both are converted
    first.

    Args:
        root: Directory of a v3.0 dataset.
        config: Columns, delta mask, action horizon, kind of quantiles.

    Raises:
        DataError: If the dataset is incomplete or has fewer than two frames.
        ColumnError: If a column is missing, not finite, or does not fit the mask.
    """
    meta = read_meta(root)
    check_robot_dimensions(meta, config.embodiment)
    if config.quantiles == "exact":
        return {
            "state": _exact([_state_blocks(meta, config) for _ in range(3)]),
            "actions": _exact([_action_blocks(meta, config) for _ in range(3)]),
        }
    return {
        "state": _histogram(_state_blocks(meta, config)),
        "actions": _histogram(_action_blocks(meta, config)),
    }


def check_robot_dimensions(meta: DatasetMeta, embodiment: EmbodimentConfig) -> None:
    """Raise ColumnError if the dataset has a state or an action of another width than the robot."""
    columns = {"state": embodiment.state, "action": (embodiment.action,)}
    width = 14 if embodiment.adapt_to_pi else None
    wanted = {
        "state": embodiment.state_dim or width,
        "action": embodiment.action_dim or width,
    }
    for what, names in columns.items():
        shapes = [meta.features[name]["shape"] for name in names if name in meta.features]
        found = sum(shape[0] for shape in shapes)
        if wanted[what] not in (None, found) and len(shapes) == len(names):
            raise ColumnError(
                f"{' and '.join(names)} of {meta.root} have {found} dims, but this robot's {what} "
                f"has {wanted[what]}. Use the embodiment of the robot that recorded the dataset, "
                f"or correct its {what}_dim."
            )


def write_norm_stats(path: Path, stats: NormStatistics) -> None:
    """Write openpi's ``norm_stats.json``."""
    content = {
        name: {field: np.asarray(values).tolist() for field, values in norm._asdict().items()}
        for name, norm in stats.items()
    }
    path.write_text(json.dumps({"norm_stats": content}, indent=2))


def load_norm_stats(path: Path) -> NormStatistics:
    """Read openpi's ``norm_stats.json``.

    Raises:
        DataError: If the file cannot be read, lacks a statistic, or holds impossible numbers.
    """
    try:
        content = json.loads(path.read_text())["norm_stats"]
        stats = {
            name: FeatureNorm(*(np.array(norm[field], dtype=np.float64) for field in norm_fields()))
            for name, norm in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"norm stats {path} cannot be read ({error!r}). Compute them again."
        ) from error
    for name, norm in stats.items():
        problem = _problem(norm)
        if problem:
            raise DataError(f"norm stats {path}: {name} {problem}. Compute them again.")
    return stats


def _problem(norm: FeatureNorm) -> str:
    """What is impossible about statistics; empty if nothing is."""
    if norm.mean.ndim != 1 or len({values.shape for values in norm}) > 1:
        return f"has statistics of shapes {[values.shape for values in norm]}, which must be equal"
    if not all(np.isfinite(values).all() for values in norm):
        return "holds numbers that are not finite"
    if (norm.std < 0).any() or (norm.q01 > norm.q99).any():
        return "has a negative std, or a q01 above its q99"
    return ""


SMALL_RANGE = 1e-3
"""A dimension that moves less than this between its 1st and 99th percentile, in the feature's own
unit (rad, m, or gripper opening), is noise that normalisation would blow up."""


def narrow_dimensions(
    stats: NormStatistics, names: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """What to warn of before a policy is trained with statistics: dimensions that hardly move.

    Quantile normalisation divides by ``q99 - q01 + 1e-6`` and a z-score by ``std + 1e-6``: on such
    a dimension sensor noise, or a frame out of the ordinary, becomes a value far outside [-1, 1].

    Args:
        stats: ``state`` and ``actions``.
        names: Names of their dimensions, for the message.

    Returns:
        One sentence per dimension.
    """
    warnings = []
    for feature, norm in stats.items():
        ranges = norm.q99 - norm.q01
        for dim in np.flatnonzero(~(ranges > SMALL_RANGE)):
            known = (names or {}).get(feature, ())
            name = f" ({known[dim]})" if dim < len(known) else ""
            warnings.append(
                f"{feature}[{dim}]{name} hardly moves: q99 - q01 is {ranges[dim]:.3g}, below "
                f"{SMALL_RANGE:g}, and its std is {norm.std[dim]:.3g}. Check the sensor, or leave "
                "the dimension out; normalised values of it are noise."
            )
    return warnings


def check_dimensions(
    stats: NormStatistics, dims: Mapping[str, int], *, where: str, may_be_padded: bool = False
) -> None:
    """Raise ColumnError unless statistics have ``state`` and ``actions`` of these dimensions.

    Args:
        stats: Statistics from a file.
        dims: Dimensions of the dataset's state and actions.
        where: What to call the file.
        may_be_padded: Further dimensions do no harm, as in the released statistics of openpi.
    """
    for feature, wanted in dims.items():
        if feature not in stats:
            raise ColumnError(
                f"{where} has no statistics of {feature!r}, only of {sorted(stats)}. "
                "Compute them from this dataset."
            )
        found = len(stats[feature].mean)
        if found < wanted or (found > wanted and not may_be_padded):
            padded = (
                " If they are padded, set the embodiment's state_dim and action_dim."
                if found > wanted
                else ""
            )
            raise ColumnError(
                f"{where} has {found} dimensions of {feature}, but the dataset has {wanted}. "
                f"Use the statistics of this robot, or compute them from this dataset.{padded}"
            )


def first_dimensions(stats: NormStatistics, dims: Mapping[str, int]) -> NormStatistics:
    """The statistics without padding: of the first ``dims`` dimensions of every feature."""
    return {
        feature: FeatureNorm(*(values[: dims.get(feature)] for values in norm))
        for feature, norm in stats.items()
    }


def norm_fields() -> tuple[str, ...]:
    """The statistics of a feature, in the order of :class:`FeatureNorm`."""
    return FeatureNorm._fields
