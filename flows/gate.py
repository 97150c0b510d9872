"""What becomes of a round's new policy."""

from flows.results import Judgement
from recap_core.config.flows import IterationConfig
from recap_core.config.gate import GateDecision


def decide(judgement: Judgement, config: IterationConfig) -> GateDecision:
    """Whether the new policy replaces the current one, waits for a person, or is only kept.

    Where an operator judges, nothing has been evaluated and a person decides.
    """
    new, current = judgement.after, judgement.collector
    if config.promote == "always":
        return GateDecision(verdict="promoted", reasons=("iteration.promote is always.",))
    if config.promote == "never":
        return GateDecision(verdict="candidate", reasons=("iteration.promote is never.",))
    if new is None or current is None:
        reason = "An operator judges: try it on the robot, then promote it or leave it."
        return GateDecision(verdict="candidate", reasons=(reason,))
    counts = (
        f"{new.num_successes} of {new.num_episodes} episodes succeeded, "
        f"{current.num_successes} of {current.num_episodes} with the current policy"
    )
    if new.num_successes * current.num_episodes >= current.num_successes * new.num_episodes:
        return GateDecision(verdict="promoted", reasons=(f"Not worse: {counts}.",))
    return GateDecision(verdict="kept", reasons=(f"Worse: {counts}.",))
