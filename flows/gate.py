"""What becomes of a round's new policy."""

from flows.results import Judgement
from recap_core.config.flows import IterationConfig
from recap_core.config.gate import GateDecision
from tasks.judging import judge
from tasks.placeholders import is_planned


def decide(judgement: Judgement, config: IterationConfig) -> GateDecision:
    """Whether the new policy replaces the current one, waits for a person, or is only kept.

    Where an operator judges, nothing has been evaluated and a person decides. A plan goes on as if
    a policy that is only planned were better.
    """
    new, current, offline = judgement.after, judgement.collector, judgement.offline
    if any(one is not None and is_planned(one) for one in (new, current, offline)):
        return GateDecision(verdict="promoted")
    return judge(current, new, config.gate, offline=offline)
