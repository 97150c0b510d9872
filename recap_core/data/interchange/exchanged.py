"""What labels of any tool come down to, and what a tool without ``none`` or NaN can hold of it."""

from typing import Literal, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Bool, Float, Float32, Int8

from recap_core.data.label_table import LabelTable
from recap_core.errors import ColumnError
from recap_core.labels.adv_ind import NEGATIVE, NONE, POSITIVE

VALUE_TOLERANCE = 1e-4
"""How far a mean over bins in [-1, 0] may leave that range by rounding."""


class ExchangedLabels(NamedTuple):
    """Labels of every frame of a dataset by global index, and V where the tool keeps it."""

    labels: LabelTable
    values: Float32[np.ndarray, " n"] | None
    """V(o_t) in [-1, 0]."""

    def digest(self) -> str:
        """xxh3-128 of the content, in hexadecimal."""
        content = xxhash.xxh3_128()
        for part in (*self.labels, self.values):
            content.update(b"-" if part is None else part.tobytes())
        return content.hexdigest()


def exchanged_labels(
    adv_ind: Int8[np.ndarray, " n"],
    advantage: Float[np.ndarray, " n"] | None = None,
    values: Float[np.ndarray, " n"] | None = None,
    *,
    where: str,
) -> ExchangedLabels:
    """Labels as they were read; no frame has a rank, for the tool's pool is not known.

    Args:
        adv_ind: Codes of :data:`recap_core.labels.adv_ind.NAMES`.
        advantage: None if the tool does not keep it: then it is NaN everywhere.
        values: V(o_t), if the tool keeps it.
        where: What to call the source in an error.

    Raises:
        ColumnError: If an advantage is no finite number, or a value is not in [-1, 0].
    """
    num_frames = len(adv_ind)
    finite = np.full(num_frames, np.nan, dtype=np.float32)
    if advantage is not None:
        with np.errstate(over="ignore"):  # infinity is refused in the next line
            finite = advantage.astype(np.float32)
        _refuse("advantage", ~np.isfinite(finite), advantage, "must be a finite number", where)
    if values is not None:
        # The comparison is false for NaN too.
        is_good = np.abs(values.astype(np.float64) + 0.5) <= 0.5 + VALUE_TOLERANCE
        _refuse("value", ~is_good, values, "must lie in [-1, 0]", where)
        values = np.clip(values, -1, 0).astype(np.float32)
    rank = np.full(num_frames, -1, dtype=np.int64)
    return ExchangedLabels(LabelTable(finite, adv_ind, rank), values)


def _refuse(
    name: str, is_bad: Bool[np.ndarray, " n"], values: np.ndarray, rule: str, where: str
) -> None:
    bad = np.flatnonzero(is_bad)
    if bad.size:
        raise ColumnError(
            f"{name} of frame {bad[0]} in {where} is {values[bad[0]]}, but it {rule} ({bad.size} "
            f"of {len(values)} frames are wrong). Let the tool label all frames, then import again."
        )


def codes_of(is_positive: Bool[np.ndarray, " n"]) -> Int8[np.ndarray, " n"]:
    """Codes of labels that are positive or negative."""
    return np.where(is_positive, np.int8(POSITIVE), np.int8(NEGATIVE))


def positives(
    labels: LabelTable, *, none_as: Literal["negative", "positive"] | None
) -> Bool[np.ndarray, " n"]:
    """The labels of a tool that knows positive and negative only.

    Args:
        labels: Labels of every frame.
        none_as: What frames labelled ``none`` become; None refuses them.

    Raises:
        ColumnError: If a frame is labelled ``none`` and ``none_as`` is None.
    """
    is_none = labels.adv_ind == NONE
    if is_none.any() and none_as is None:
        raise ColumnError(
            f"{is_none.sum()} of {len(is_none)} frames are labelled none (first: frame "
            f"{np.argmax(is_none)}), which this tool cannot hold. Choose what they become with "
            "none_as (--none-as negative, or positive)."
        )
    return (labels.adv_ind == POSITIVE) | (is_none & (none_as == "positive"))


def advantages(labels: LabelTable, *, fill: float | None) -> Float32[np.ndarray, " n"] | None:
    """The advantage of every frame, for a tool that cannot hold NaN; None if there is none at all.

    Args:
        labels: Labels of every frame.
        fill: Advantage of frames that have none while others do; None refuses them.

    Raises:
        ColumnError: If some frames have no advantage and ``fill`` is None.
    """
    is_missing = np.isnan(labels.advantage)
    if is_missing.all():
        return None
    if is_missing.any() and fill is None:
        raise ColumnError(
            f"{is_missing.sum()} of {len(is_missing)} frames have no advantage (first: frame "
            f"{np.argmax(is_missing)}), which this tool cannot hold. Choose a number for them with "
            "fill_advantage (--fill-advantage 0)."
        )
    return np.where(is_missing, np.float32(fill or 0), labels.advantage)
