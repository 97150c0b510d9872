"""The columns of a RECAP dataset: names, types, how they come about, and what must hold."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recap_core.errors import ColumnError
from recap_core.labels.adv_ind import NAMES as ADV_IND_NAMES
from recap_core.labels.targets import reference_labels

STATE: Final = "observation.state"
ENVIRONMENT_STATE: Final = "observation.environment_state"
ACTION: Final = "action"
IMAGE_PREFIX: Final = "observation.images."
"""A camera's feature is this prefix and the camera's name."""

INTERVENTION: Final = "intervention"
REWARD: Final = "reward"
REWARD_LABEL: Final = "reward_label"
VALUE_LABEL: Final = "value_label"
ADV_IND: Final = "adv_ind"
PHASE: Final = "phase"
"""Who drove: ``autonomous``, ``paused`` or ``correcting``."""
CORRECTION_INDEX: Final = "correction_index"
"""Corrections begun up to the frame, int32; only where every episode was recorded with it."""

AUTONOMOUS: Final = "autonomous"
PAUSED: Final = "paused"
CORRECTING: Final = "correcting"
PHASES: Final = (AUTONOMOUS, PAUSED, CORRECTING)

type Feature = dict[str, Any]
"""One feature of ``meta/info.json``: ``dtype``, ``shape``, ``names``."""


def _scalar(dtype: str, names: list[str] | None = None) -> Feature:
    return {"dtype": dtype, "shape": [1], "names": names}


def recap_features() -> dict[str, Feature]:
    """The five RECAP columns and ``phase``, as features of ``info.json``."""
    return {
        INTERVENTION: _scalar("int64", ["intervention_flag"]),
        REWARD: _scalar("float32"),
        REWARD_LABEL: _scalar("float32"),
        VALUE_LABEL: _scalar("float32"),
        ADV_IND: _scalar("string"),
        PHASE: _scalar("string"),
    }


def correction_index_feature() -> dict[str, Feature]:
    """The optional column that counts corrections."""
    return {CORRECTION_INDEX: _scalar("int32")}


def index_features() -> dict[str, Feature]:
    """The columns by which LeRobot finds a frame, last in every dataset."""
    return {
        "timestamp": _scalar("float32"),
        "frame_index": _scalar("int64"),
        "episode_index": _scalar("int64"),
        "index": _scalar("int64"),
        "task_index": _scalar("int64"),
    }


def vector_feature(names: list[str]) -> Feature:
    """A float32 vector with one name per dimension."""
    return {"dtype": "float32", "shape": [len(names)], "names": names}


def recap_columns(
    phase: np.ndarray, *, success: bool, demonstration: bool
) -> dict[str, np.ndarray]:
    """The five columns and ``phase`` of one episode, by the reference rule (SPEC §3.1).

    Args:
        phase: Phase of every frame, after resampling.
        success: Outcome, as marked or as corrected; that demonstrations succeed whatever their
            mark is up to the caller.
        demonstration: The whole episode is a human's: intervention 1, ``positive``.
    """
    is_intervention = np.full(len(phase), fill_value=True) if demonstration else phase == CORRECTING
    labels = reference_labels(len(phase), success=success)
    return {
        INTERVENTION: is_intervention.astype(np.int64),
        **labels._asdict(),
        ADV_IND: np.where(is_intervention, "positive", "none"),
        PHASE: phase,
    }


def _refuse(  # noqa: PLR0913 - one fact each
    name: str, bad: np.ndarray, values: np.ndarray, *, rule: str, where: str, first: int = 0
) -> None:
    """Raise ColumnError for the first frame marked in ``bad``."""
    frames = np.flatnonzero(bad)
    if frames.size:
        value = values[frames[0]]
        shown = value if np.ndim(value) == 0 else list(value)
        raise ColumnError(
            f"{name}[{first + frames[0]}] of {where} is {shown}, but {rule} "
            f"({frames.size} of {len(values)} frames are wrong). "
            "Convert the recording again, or correct the source of this dataset."
        )


def check_finite(name: str, values: np.ndarray, *, where: str, first: int = 0) -> None:
    """Raise ColumnError unless every number is finite.

    Args:
        name: Column, or file.
        values: Its rows, or successive rows of it.
        where: What to call the episode or dataset.
        first: Number of the first row.
    """
    bad = np.logical_not(np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    rule = "every value must be a finite number"
    _refuse(name, bad, values, rule=rule, where=where, first=first)


def contradictions(columns: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, str]]:
    """Frames at which a column contradicts ``intervention``, and the rule, by column.

    Args:
        columns: Of one episode: ``intervention``, and ``adv_ind`` and ``phase`` if they exist.
    """
    is_human = columns[INTERVENTION] == 1
    found = {}
    if ADV_IND in columns:
        is_wrong = is_human & (columns[ADV_IND] == "negative")
        found[ADV_IND] = (is_wrong, "frames that a human drove are never negative")
    # A demonstration is a human's throughout, whatever its recorder called it.
    if PHASE in columns and not is_human.all():
        is_wrong = is_human != (columns[PHASE] == CORRECTING)
        found[PHASE] = (is_wrong, "intervention is 1 where the phase is correcting")
    return found


def check_recap_columns(columns: Mapping[str, np.ndarray], *, where: str) -> None:
    """Raise ColumnError unless the five columns of one episode hold what they must.

    Args:
        columns: At least the five columns, in frame order.
        where: What to call the episode in an error, such as ``episode 3``.
    """
    missing = sorted(set(recap_features()) - {PHASE} - set(columns))
    if missing:
        raise ColumnError(
            f"{where} lacks {', '.join(missing)}; a RECAP dataset has all five columns. "
            "Convert the recording with this version."
        )
    for name in (REWARD, REWARD_LABEL, VALUE_LABEL):
        check_finite(name, columns[name], where=where)
    intervention, reward = columns[INTERVENTION], columns[REWARD]
    _refuse(
        INTERVENTION,
        ~np.isin(intervention, (0, 1)),
        intervention,
        rule="it must be 0 or 1",
        where=where,
    )
    is_last = np.arange(len(reward)) == len(reward) - 1
    _refuse(
        REWARD,
        ~((reward == 0) | ((reward == 1) & is_last)),
        reward,
        rule="reward is 0, and 1 at the last frame of a success",
        where=where,
    )
    for name in (REWARD_LABEL, VALUE_LABEL):
        values = columns[name]
        _refuse(
            name, (values < -1) | (values > 0), values, rule="it must lie in [-1, 0]", where=where
        )
    labels = columns[ADV_IND]
    rule = f"it must be one of {', '.join(ADV_IND_NAMES)}"
    _refuse(ADV_IND, ~np.isin(labels, ADV_IND_NAMES), labels, rule=rule, where=where)
    if PHASE in columns:
        phase = columns[PHASE]
        rule = f"it must be one of {', '.join(PHASES)}"
        _refuse(PHASE, ~np.isin(phase, PHASES), phase, rule=rule, where=where)
