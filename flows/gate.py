"""What becomes of a round's new policy."""

from flows.results import Judgement
from recap_core.config.flows import IterationConfig
from recap_core.config.gate import GateDecision
from tasks.judging import judge
from tasks.planning import is_planning


def decide(judgement: Judgement, config: IterationConfig) -> GateDecision:
    """Whether the new policy replaces the current one, waits for a person, or is only kept.

    Where an operator judges, nothing has been evaluated and a person decides. A plan goes on as if
    the new policy were better.
    """
    if is_planning():
        return GateDecision(verdict="promoted")
    new, current, offline = judgement.after, judgement.collector, judgement.offline
    return judge(current, new, config.gate, offline=offline)
