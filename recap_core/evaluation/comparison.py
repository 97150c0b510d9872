"""Is one policy better than another, on the same seeds?"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from recap_core.errors import DataError
from recap_core.evaluation.outcome import EpisodeOutcome

NUM_RESAMPLES = 10_000

type Verdict = Literal["better", "worse", "undecided"]


class PairedDifference(NamedTuple):
    """Difference of two success rates, first minus second."""

    difference: float
    low: float
    high: float
    verdict: Verdict
    """``better`` or ``worse`` only if the interval leaves zero out."""


def compare(
    first: Sequence[EpisodeOutcome], second: Sequence[EpisodeOutcome], *, confidence: float = 0.95
) -> PairedDifference:
    """Compare two policies that were evaluated on the same seeds.

    The interval is a percentile bootstrap over seeds (10,000 resamples of pairs, fixed seed): the
    scene of a seed is as hard for both, so pairs are drawn, not episodes.

    Raises:
        DataError: If there are no episodes, or the seeds differ.
    """
    seeds = [outcome.seed for outcome in first]
    if not seeds or seeds != [outcome.seed for outcome in second]:
        raise DataError(
            f"policies can only be compared on equal seeds, got {len(first)} and {len(second)} "
            "episodes with other seeds. Evaluate both with the same evaluation settings."
        )
    differences = np.array(
        [int(a.success) - int(b.success) for a, b in zip(first, second, strict=True)]
    )
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(differences), size=(NUM_RESAMPLES, len(differences)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences[picks].mean(axis=1), [tail, 1 - tail])
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "undecided"
    return PairedDifference(float(differences.mean()), float(low), float(high), verdict)
