"""What becomes of a round's new policy."""

from flows.results import Judgement
from recap_core.config.flows import IterationConfig
from recap_core.config.gate import GateDecision
from tasks.judging import judge
from tasks.placeholders import is_planned
from tasks.planning import is_planning


def decide(judgement: Judgement, config: IterationConfig) -> GateDecision:
    """Whether the new policy replaces the current one, waits for a person, or is only kept.

    Where an operator judges, nothing has been evaluated and a person decides. A plan judges what is
    there, and goes on as if a policy that is still to be judged were better.
    """
    new, current, offline = judgement.after, judgement.collector, judgement.offline
    if is_planning() and any(part and is_planned(part) for part in (new, current, offline)):
        return GateDecision(verdict="promoted")
    return judge(current, new, config.gate, offline=offline)
