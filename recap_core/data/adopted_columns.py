"""The RECAP columns of an imported dataset: from which of its columns, and kept or made anew."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from recap_core.config.import_dataset import ImportConfig
from recap_core.data.columns import (
    ADV_IND,
    AUTONOMOUS,
    CORRECTING,
    CORRECTION_INDEX,
    INTERVENTION,
    PHASE,
    PHASES,
    REWARD,
    REWARD_LABEL,
    VALUE_LABEL,
    contradictions,
    recap_columns,
    recap_features,
)
from recap_core.data.episode_outcomes import Outcomes, as_flags
from recap_core.errors import ColumnError, ConfigError
from recap_core.labels.adv_ind import NAMES as ADV_IND_NAMES

CONTROL_STATE: Final = "complementary_info.state"
"""Evo-RL's state of control: 0 policy, 1 human, 2 while control is handed back."""
INTERVENTION_COLUMNS: Final = (
    INTERVENTION,
    "is_intervention",
    "complementary_info.is_intervention",
    CONTROL_STATE,
    PHASE,
)
"""Where it is looked for who drove, first match first."""
LABEL_TOLERANCE: Final = 1e-6
"""float32 arithmetic of other writers may end in another last digit."""

type _Rule = tuple[str, Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]]
"""In words, and the frames that follow it, given the column and all columns as they are made."""


class RecapSources(NamedTuple):
    """What the RECAP columns of one dataset are made from."""

    intervention: str | None
    """Column that says who drove, by source name; None: known without one."""
    outcomes: Outcomes
    existing: dict[str, str]
    """Source name of RECAP columns that are kept, by RECAP name."""
    is_demonstration: bool

    @property
    def columns(self) -> set[str]:
        """Columns to read, by source name."""
        names = {self.intervention, self.outcomes.column, *self.existing.values()}
        return {name for name in names if name is not None}

    def made_from(self) -> dict[str, str]:
        """In words, what every RECAP column is made from."""
        driver = "0: no column says who drove"
        if self.is_demonstration:
            driver = "1: demonstrations"
        elif self.intervention is not None:
            driver = f"column {self.intervention}"
        made = {
            INTERVENTION: driver,
            "outcome": self.outcomes.origin,
            REWARD: "from the outcome",
            REWARD_LABEL: "from the length",
            VALUE_LABEL: "from outcome and length",
            ADV_IND: "from intervention",
            PHASE: "from intervention; pauses are not known",
        }
        kept = {name: "kept" for name in self.existing if name != INTERVENTION}
        return made | kept


def find_intervention(config: ImportConfig, *, columns: Mapping[str, str]) -> str | None:
    """Source name of the column that says who drove; None if none does, or none has to.

    Args:
        config: What the user said.
        columns: Source name of every frame column, by the names it goes by.

    Raises:
        ConfigError: If the column that was named does not exist.
    """
    if config.demonstrations:
        return None
    name = config.intervention_from
    if name is not None:
        if name not in columns:
            raise ConfigError(
                f"intervention_from is {name!r}, but the frames have {', '.join(columns)}. Name "
                "one of these."
            )
        return columns[name]
    # A column that is to be made anew is no witness of itself.
    witnesses = [name for name in INTERVENTION_COLUMNS if name not in config.recompute]
    found = [name for name in witnesses if name in columns]
    return columns[found[0]] if found else None


def adopted_columns(
    sources: RecapSources, columns: Mapping[str, np.ndarray], *, length: int, episode: int
) -> dict[str, np.ndarray]:
    """The five columns and ``phase`` of one episode.

    Args:
        sources: What they are made from.
        columns: The episode's columns by source name; at least ``sources.columns``.
        length: Frames of the episode.
        episode: Its index.

    Raises:
        ColumnError: If a source column says something unknown, or an existing RECAP column breaks
            its rule.
        DataError: If the outcome is not known.
    """
    where = f"episode {episode}"
    is_human = np.full(length, fill_value=sources.is_demonstration)
    if sources.intervention is not None:
        name = sources.intervention
        is_human = _is_human(columns[name], name=name, where=where)
    outcome_values = columns.get(sources.outcomes.column or "", np.zeros(0))
    success = sources.outcomes.of_episode(episode, outcome_values)
    made = recap_columns(
        np.where(is_human, CORRECTING, AUTONOMOUS),
        success=success or sources.is_demonstration,
        demonstration=sources.is_demonstration,
    )
    rules = {**_RULES, **(_DEMONSTRATION_RULES if sources.is_demonstration else {})}
    anew = dict(made)
    for name, source in sources.existing.items():
        made[name] = _kept(name, columns[source], anew, rule=rules[name], where=where)
    for name, (is_bad, rule) in contradictions(made).items():
        _refuse(name, is_bad, made[name], anew[name], rule=rule, where=where)
    return made


def adopted_correction_index(values: np.ndarray, *, where: str) -> Int32[np.ndarray, " t"]:
    """``correction_index`` of one episode in our dtype.

    Args:
        values: Whole numbers, one per frame.
        where: What to call the episode in an error.

    Raises:
        ColumnError: If one is negative, or too large for a count.
    """
    bad = (values < 0) | (values > np.iinfo(np.int32).max)
    if bad.any():
        raise ColumnError(
            f"{CORRECTION_INDEX} of {where} is {values[bad][0]}, but it counts corrections, from "
            f"0 and in int32 ({bad.sum()} of {len(values)} frames are wrong). Correct it, or leave "
            "it out with --drop."
        )
    return values.astype(np.int32)


def _is_human(values: np.ndarray, *, name: str, where: str) -> Bool[np.ndarray, " t"]:
    """Frames that a human drove."""
    if name == CONTROL_STATE and np.isin(values, (0, 1, 2)).all():
        return values == 1
    if values.dtype.kind == "U" and np.isin(values, PHASES).all():
        return values == CORRECTING
    return as_flags(values, name=name, where=where)


def _kept(
    name: str, values: np.ndarray, made: Mapping[str, np.ndarray], *, rule: _Rule, where: str
) -> np.ndarray:
    """An existing RECAP column in our dtype, if it follows the rule that makes such columns."""
    expected = made[name]
    if values.shape != expected.shape or (values.dtype.kind == "U") != (expected.dtype.kind == "U"):
        feature = recap_features()[name]
        raise ColumnError(
            f"{name} of {where} holds {values.dtype} of shape {values.shape}, but it must hold one "
            f"{feature['dtype']} per frame. {_recompute(name)}"
        )
    text, is_good = rule
    _refuse(name, ~is_good(values, made), values, expected, rule=text, where=where)
    return values if values.dtype.kind == "U" else values.astype(expected.dtype)


def _refuse(  # noqa: PLR0913 - one fact each
    name: str,
    is_bad: Bool[np.ndarray, " t"],
    values: np.ndarray,
    expected: np.ndarray,
    *,
    rule: str,
    where: str,
) -> None:
    """Raise ColumnError for the first bad frame of a RECAP column."""
    if is_bad.any():
        frame = int(np.argmax(is_bad))
        raise ColumnError(
            f"{name}[{frame}] of {where} is {values[frame]!s}, but {rule} (here "
            f"{expected[frame]!s}; {is_bad.sum()} of {len(values)} frames differ). "
            f"{_recompute(name)}"
        )


def _recompute(name: str) -> str:
    return f"Correct it, or pass --recompute {name} to write it anew."


def _equals(name: str) -> Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]:
    return lambda values, made: np.abs(values.astype(np.float64) - made[name]) <= LABEL_TOLERANCE


_RULES: Final[dict[str, _Rule]] = {
    INTERVENTION: ("it is 1 exactly where a human drove", _equals(INTERVENTION)),
    REWARD: ("it is 0, and 1 at the last frame of a success", _equals(REWARD)),
    REWARD_LABEL: ("it is -1/T, and 0 at the last frame", _equals(REWARD_LABEL)),
    VALUE_LABEL: (
        "it rises from -(T-1)/T to 0 in a success and is -1 in a failure",
        _equals(VALUE_LABEL),
    ),
    ADV_IND: (
        f"it is one of {', '.join(ADV_IND_NAMES)}",
        lambda values, _: np.isin(values, ADV_IND_NAMES),
    ),
    PHASE: (f"it is one of {', '.join(PHASES)}", lambda values, _: np.isin(values, PHASES)),
}
_DEMONSTRATION_RULES: Final[dict[str, _Rule]] = {
    ADV_IND: (
        "it is positive throughout a demonstration",
        lambda values, made: values == made[ADV_IND],
    ),
}
