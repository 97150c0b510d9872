"""Fine-tuning on the labels that the collector gave."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.bootstrap import first_policy
from flows.forms import ProjectName, StageName, StartChoice, TrainingChoice
from flows.references import ProjectRefs
from flows.results import RoundInputs, Stage3Result
from flows.settings import project_of_run, run_settings
from recap_core.config.flows import ProjectConfig
from tasks.datasets import merge
from tasks.evaluation import evaluate
from tasks.refresh import refreshing
from tasks.store import open_store
from tasks.training import train_policy


@flow(name="stage3", flow_run_name=lambda: f"stage3-{project_of_run(flow_run.parameters)}")
def stage3(
    project: ProjectName,
    *,
    start: StartChoice = StartChoice(),
    training: TrainingChoice = TrainingChoice(),
    refresh: tuple[StageName, ...] = (),
    settings: dict[str, Any] = {},  # noqa: B006 - Prefect shows it, nobody changes it
) -> Stage3Result:
    """Fine-tune the starting policy on all data, labelled by who drove and not by a value model.

    Corrections and demonstrations are ``positive``, autonomous frames ``none`` (stage 3). No ref
    moves but ``stage3``.

    Args:
        project: Whose settings and refs are used: project/robot.
        start: What training starts from.
        training: How long the policy learns.
        refresh: Stages that run anew although their result is there.
        settings: Any other setting, in the shape of recap.yaml; wins over the fields above.
    """
    config = run_settings(project, training, settings=settings)
    refs = ProjectRefs(open_store(), config)
    with refreshing(refresh):
        if not refs.is_bootstrapped():
            first_policy(config)
        result = run_stage3(config, refs.known_inputs(refs.next_round(), start=start.policy))
    refs.set("stage3", result.policy)
    return result


def run_stage3(config: ProjectConfig, inputs: RoundInputs) -> Stage3Result:
    """Merge, fine-tune, evaluate."""
    settings, runtime = config.iteration, config.runtime
    name = f"stage3-{len(inputs.earlier)}"
    dataset = merge(
        (inputs.demonstrations, *inputs.earlier),
        settings.merge,
        annotations=inputs.annotations,
        name=name,
    )
    policy = train_policy(
        dataset, inputs.norm_stats, inputs.start, settings.stage3, runtime.train, name=name
    )
    evaluation = None
    if settings.judge == "simulation":
        evaluation = evaluate(policy, settings.evaluation, runtime.collect, name=name)
    return Stage3Result(dataset=dataset, policy=policy, evaluation=evaluation)
