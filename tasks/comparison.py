"""Two evaluations on the same seeds, in words."""

from recap_core.lineage.artifacts import Evaluation
from tasks.store import open_store


def compared(new: Evaluation, old: Evaluation) -> str:
    """``+12.0 points [3, 21], better``: the paired difference of success rates."""
    from recap_core.evaluation.comparison import compare
    from recap_core.stages.report_parts import read_outcomes

    store = open_store()
    paired = compare(read_outcomes(store, new), read_outcomes(store, old))
    return (
        f"{100 * paired.difference:+.1f} points [{100 * paired.low:.0f}, {100 * paired.high:.0f}], "
        f"{paired.verdict}"
    )
