"""What every number and label of an episode must be (SPEC §3.1, §3.5, §9.4)."""

from collections.abc import Generator, Iterable

import numpy as np

from recap_core.data.checks.episode import Episode, first_of
from recap_core.data.checks.finding import Finding
from recap_core.data.columns import (
    ADV_IND,
    INTERVENTION,
    PHASE,
    PHASES,
    REWARD,
    REWARD_LABEL,
    VALUE_LABEL,
    contradictions,
)
from recap_core.labels.adv_ind import NAMES
from recap_core.labels.targets import reference_labels

_CONVERT = "convert the recording again"
_TOLERANCE = 1e-5
"""Of sums and ramps in float32."""


class NumberCheck:
    """Every number is finite."""

    def look(self, episode: Episode) -> Generator[Finding]:
        """Numbers of one episode."""
        for name, values in episode.columns.items():
            if values.dtype.kind == "f":
                bad = np.logical_not(np.isfinite(values.reshape(episode.length, -1)).all(axis=1))
                rule = "every value is a finite number: one NaN spoils norm stats and training"
                fix = "exclude the episode with an annotation and convert again"
                yield from _wrong(episode, name, bad, rule, check="numbers", fix=fix)

    def finish(self) -> Iterable[Finding]:
        """Nothing more."""
        return ()


class RecapColumnCheck:
    """Ranges, sums and the agreement of the five columns."""

    def look(self, episode: Episode) -> Generator[Finding]:
        """Columns of one episode."""
        columns, length = episode.columns, episode.length
        is_last = np.arange(length) == length - 1
        rules = {
            INTERVENTION: (lambda x: np.isin(x, (0, 1)), "it is 0 or 1"),
            REWARD: (
                lambda x: (x == 0) | ((x == 1) & is_last),
                "it is 0, and 1 at the last frame of a success: the sum is 1 or 0",
            ),
            REWARD_LABEL: (lambda x: (x >= -1) & (x <= 0), "it lies in [-1, 0]"),
            VALUE_LABEL: (lambda x: (x >= -1) & (x <= 0), "it lies in [-1, 0]"),
            ADV_IND: (lambda x: np.isin(x, NAMES), f"it is one of {', '.join(NAMES)}"),
            PHASE: (lambda x: np.isin(x, PHASES), f"it is one of {', '.join(PHASES)}"),
        }
        for name, (is_right, rule) in rules.items():
            if name in columns:
                yield from _wrong(episode, name, np.logical_not(is_right(columns[name])), rule)
        yield from _targets(episode)
        yield from _agreement(episode)

    def finish(self) -> Iterable[Finding]:
        """Nothing more."""
        return ()


def _targets(episode: Episode) -> Generator[Finding]:
    """``reward_label`` and ``value_label`` follow from the length and the outcome."""
    columns, length = episode.columns, episode.length
    if episode.success is None:
        return
    expected = reference_labels(length, success=episode.success)
    if REWARD_LABEL in columns:
        total, rule = float(columns[REWARD_LABEL].sum()), (length - 1) / length
        if not abs(total + rule) <= _TOLERANCE * length:
            yield Finding(
                severity="error",
                check="sums",
                where=episode.place(REWARD_LABEL),
                value=f"the sum is {total:.4g}, not {-rule:.4g}",
                rule="it sums to -(T-1)/T over an episode of T frames",
                fix=_CONVERT,
            )
    if VALUE_LABEL in columns:
        bad = ~(np.abs(columns[VALUE_LABEL] - expected.value_label) <= _TOLERANCE)
        rule = "it is -(T-1-t)/T in a success and -1 in a failure"
        yield from _wrong(episode, VALUE_LABEL, bad, rule, check="sums")


def _agreement(episode: Episode) -> Generator[Finding]:
    """Columns that say the same thing say it of the same frames."""
    if INTERVENTION not in episode.columns:
        return
    for name, (bad, rule) in contradictions(episode.columns).items():
        fix = "label the dataset again" if name == ADV_IND else _CONVERT
        yield from _wrong(episode, name, bad, rule, fix=fix)


def _wrong(  # noqa: PLR0913 - options are keyword-only
    episode: Episode,
    name: str,
    bad: np.ndarray,
    rule: str,
    *,
    check: str = "columns",
    fix: str = _CONVERT,
) -> Generator[Finding]:
    if not bad.any():
        return
    frame, count = first_of(bad)
    value = episode.columns[name][frame]
    if np.ndim(value):
        dim = int(np.argmin(np.isfinite(value)))
        value = f"{value[dim]} in dimension {dim}"
    yield Finding(
        severity="error",
        check=check,
        where=episode.place(name, frame=frame),
        value=f"{value} ({count} of {episode.length} frames)",
        rule=rule,
        fix=fix,
    )
