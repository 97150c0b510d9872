"""Artifacts in a few words, for tables and messages."""

from recap_core.lineage.artifacts import Evaluation


def success_text(evaluation: Evaluation) -> str:
    """``66.7 % [59, 74], 100 of 150``: success rate, its interval, and the counts."""
    rate = evaluation.num_successes / evaluation.num_episodes
    return (
        f"{100 * rate:.1f} % [{100 * evaluation.success_low:.0f}, "
        f"{100 * evaluation.success_high:.0f}], "
        f"{evaluation.num_successes} of {evaluation.num_episodes}"
    )
