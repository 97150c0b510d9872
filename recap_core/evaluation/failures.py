"""Why an episode failed, in a few words."""

from collections import Counter
from collections.abc import Iterable

from recap_core.evaluation.outcome import EpisodeOutcome

DROPPED = "fell off the table"
NO_REASON = "no reason noted"
_BY_STAGE = (
    "never touched the cube",
    "touched it, did not lift it",
    "lifted it, did not reach the other hand",
    "both hands on it, did not hand it over",
)


def failure_reason(outcome: EpisodeOutcome, *, max_frames: int | None) -> str | None:
    """What went wrong; None of a success.

    A recorded episode failed for what the operator said. A simulated one ended early because the
    cube fell, or at the limit, and then the best stage that it reached says how far it came.

    Args:
        outcome: The episode.
        max_frames: Limit of a simulated episode; None: it is not known.
    """
    if outcome.success:
        return None
    if outcome.failure_reason is not None:
        return outcome.failure_reason
    if outcome.episode is not None:
        return NO_REASON
    if max_frames is not None and outcome.num_frames < max_frames:
        return DROPPED
    return f"time limit: {_BY_STAGE[min(outcome.best_stage, len(_BY_STAGE) - 1)]}"


def count_failures(outcomes: Iterable[EpisodeOutcome], *, max_frames: int | None) -> dict[str, int]:
    """Failures by reason, the most frequent first, then by name."""
    reasons = (failure_reason(outcome, max_frames=max_frames) for outcome in outcomes)
    counted = Counter(reason for reason in reasons if reason is not None)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
