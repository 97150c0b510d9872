"""Round after round."""

from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.bootstrap import first_policy
from flows.forms import (
    CollectChoice,
    LabelChoice,
    ProjectName,
    Promotion,
    StageName,
    TrainingChoice,
    promotion_changes,
)
from flows.references import ProjectRefs, pretrained_value_model
from flows.results import IterationResult, LoopResult, RoundInputs
from flows.rounds import recap_round
from flows.settings import project_of_run, run_settings
from recap_core.config.flows import ProjectConfig
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import Dataset
from tasks.refresh import refreshing
from tasks.store import open_store


def _run_name() -> str:
    parameters = flow_run.parameters
    return f"{project_of_run(parameters)}-{parameters['rounds']}-rounds"


@flow(name="recap-loop", flow_run_name=_run_name)
def recap_loop(  # noqa: PLR0913 - one parameter per group of the form
    project: ProjectName,
    *,
    rounds: Annotated[int, Field(ge=1, le=1000)] = 2,
    collect: CollectChoice = CollectChoice(),
    labels: LabelChoice = LabelChoice(),
    training: TrainingChoice = TrainingChoice(),
    promotion: Promotion = "as the project says",
    refresh: tuple[StageName, ...] = (),
    settings: dict[str, Any] = {},  # noqa: B006 - Prefect shows it, nobody changes it
) -> LoopResult:
    """Bootstrap, then rounds 1 to n in simulation, each collecting with the policy last promoted.

    What exists already is reused, so more rounds continue.

    Args:
        project: Whose settings and refs are used: project/robot.
        rounds: How many rounds there are in the end, the finished ones included.
        collect: What the simulator records in each round.
        labels: The rule that says which frames were good.
        training: How long the models learn.
        promotion: When a new policy becomes the current one.
        refresh: Stages that run anew although their result is there.
        settings: Any other setting, in the shape of recap.yaml; wins over the fields above.
    """
    config = run_settings(
        project, collect, labels, training, promotion_changes(promotion), settings=settings
    )
    with refreshing(refresh):
        return run_loop(config, rounds)


def run_loop(config: ProjectConfig, rounds: int) -> LoopResult:
    """The rounds of a loop, each a flow of its own."""
    if config.iteration.episodes == "recordings" and rounds > 1:
        raise ConfigError(
            f"iteration.episodes is 'recordings' and rounds is {rounds}: a robot has to record "
            "before every round. Run rounds one by one, or let every night run one"
        )
    store = open_store()
    refs = ProjectRefs(store, config)
    value_start = pretrained_value_model(store, config)  # before anything is recorded
    first = first_policy(config)
    annotations = refs.annotations()
    collector, earlier = first.policy, tuple[Dataset, ...]()
    results: list[IterationResult] = []
    for k in range(1, rounds + 1):
        inputs = RoundInputs(
            start=first.policy,
            collector=collector,
            demonstrations=first.demonstrations,
            norm_stats=first.norm_stats,
            earlier=earlier,
            value_start=value_start,
            annotations=annotations,
            recordings=refs.round_recordings(k),
        )
        before = refs.finished_round(k)
        result = recap_round(config, k, inputs, rounds)
        collector = refs.collector_after(result, is_known=before == result.record)
        earlier = (*earlier, *result.experience.rollouts)
        results.append(result)
    return LoopResult(bootstrap=first, rounds=tuple(results))
