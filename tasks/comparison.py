"""Two evaluations beside each other, in words."""

from recap_core.errors import IncompatibleError
from recap_core.lineage.artifacts import Evaluation
from tasks.store import open_store


def compared(new: Evaluation, old: Evaluation) -> str:
    """``+12.0 points [+3.4, +20.8], better``: the gate's difference of success rates, 95 %."""
    from recap_core.stages.judge import success_difference

    try:
        return success_difference(old, new, store=open_store()).text()
    except IncompatibleError as error:
        return str(error)
