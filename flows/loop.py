"""Round after round."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.bootstrap import bootstrap
from flows.iteration import recap_iteration
from flows.references import ProjectRefs, pretrained_value_model
from flows.results import IterationResult, LoopResult, RoundInputs
from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import tiny_project
from recap_core.lineage.artifacts import Dataset
from tasks.store import open_store


@flow(name="recap-loop", flow_run_name="{config.project}-{iterations}-rounds")
def recap_loop(
    config: ProjectConfig = tiny_project(), iterations: Annotated[int, Field(ge=1)] = 2
) -> LoopResult:
    """Bootstrap, then rounds 1 to ``iterations``, each collecting with the policy last promoted.

    What exists already is reused, so raising ``iterations`` continues.
    """
    value_start = pretrained_value_model(open_store(), config)  # before anything is recorded
    first = bootstrap(config)
    annotations = ProjectRefs(open_store(), config).annotations()
    collector, earlier = first.policy, tuple[Dataset, ...]()
    rounds: list[IterationResult] = []
    for k in range(1, iterations + 1):
        inputs = RoundInputs(
            start=first.policy,
            collector=collector,
            demonstrations=first.demonstrations,
            norm_stats=first.norm_stats,
            earlier=earlier,
            value_start=value_start,
            annotations=annotations,
        )
        result = recap_iteration(config, k, inputs)
        collector, earlier = result.current, (*earlier, result.experience.rollouts)
        rounds.append(result)
    return LoopResult(bootstrap=first, rounds=tuple(rounds))
