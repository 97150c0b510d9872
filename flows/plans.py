"""What a round would do, from its own code, without doing it."""

from collections.abc import Sequence
from typing import NamedTuple

from flows.bootstrap import run_bootstrap
from flows.references import ProjectRefs
from flows.rounds import run_round
from recap_core.config.flows import ProjectConfig
from tasks.planning import Plan, planning
from tasks.refresh import refreshing
from tasks.store import open_store


class RoundPlan(NamedTuple):
    """The plan of one round."""

    round_index: int
    plan: Plan


def plan_round(
    config: ProjectConfig, round_index: int | None = None, refresh: Sequence[str] = ()
) -> RoundPlan:
    """Ask every stage of a round, and of the bootstrap where there is none yet, what it would do.

    Needs no server; nothing is executed, written, or pointed elsewhere.

    Args:
        config: Complete settings.
        round_index: Which round; None: the first unfinished one.
        refresh: Stages that would be made anew.
    """
    with planning() as plan, refreshing(refresh):
        refs = ProjectRefs(open_store(), config)
        if not refs.is_bootstrapped():
            run_bootstrap(config)
        k = round_index or refs.next_round()
        run_round(config, k, refs.round_inputs(k))
    return RoundPlan(k, plan)
