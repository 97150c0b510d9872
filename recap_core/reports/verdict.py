"""The first sentence of a report: did it get better, by how much, how sure."""

from typing import NamedTuple

from recap_core.reports.content import Comparison, IterationReport
from recap_core.reports.numbers import count, percent, points


class Headline(NamedTuple):
    """What the reader sees first."""

    outcome: str
    """CSS class: ``better``, ``worse``, ``undecided`` or ``plain``."""
    word: str
    figure: str
    """The one number, such as ``+37.3 points``."""
    sentence: str
    detail: str


_WORDS = {"better": "Better", "worse": "Worse", "undecided": "Not decided"}


def headline(report: IterationReport) -> Headline | None:
    """Words for the first comparison, or for the last bar if nothing was compared."""
    if report.comparisons:
        return _compared(report, report.comparisons[0])
    if report.success_bars:
        bar = report.success_bars[-1]
        return Headline(
            outcome="plain",
            word="Measured",
            figure=percent(bar.rate),
            sentence=(
                f"{bar.name} succeeds in {count(bar.successes)} of {count(bar.episodes)} episodes."
            ),
            detail="It was compared with no other policy.",
        )
    return None


def _compared(report: IterationReport, comparison: Comparison) -> Headline:
    new, old = report.bar(comparison.candidate), report.bar(comparison.baseline)
    interval = (
        f"{percent(comparison.confidence, 0)} interval of the difference: "
        f"{points(comparison.low)} to {points(comparison.high)} points"
    )
    ending = {
        "better": ".",
        "worse": ".",
        "undecided": "; it takes more episodes to tell.",
    }[comparison.outcome]
    return Headline(
        outcome=comparison.outcome,
        word=_WORDS[comparison.outcome],
        figure=f"{points(comparison.difference)} points",
        sentence=(
            f"{new.name} succeeds in {percent(new.rate)} of {count(new.episodes)} episodes, "
            f"{old.name} in {percent(old.rate)}"
            + (f" of {count(old.episodes)}." if old.episodes != new.episodes else ".")
        ),
        detail=interval + ending,
    )


def comparison_word(comparison: Comparison) -> str:
    """``Better``, ``Worse`` or ``Not decided``."""
    return _WORDS[comparison.outcome]
