"""Fine-tuning on the labels that the collector gave."""

from prefect import flow

from flows.bootstrap import bootstrap
from flows.references import ProjectRefs
from flows.results import RoundInputs, Stage3Result
from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import tiny_project
from tasks.datasets import merge
from tasks.evaluation import evaluate
from tasks.store import open_store
from tasks.training import train_policy


@flow(name="stage3", flow_run_name="stage3-{config.project}")
def stage3(
    config: ProjectConfig = tiny_project(), inputs: RoundInputs | None = None
) -> Stage3Result:
    """Fine-tune the starting policy on all data, labelled by who drove and not by a value model.

    Corrections and demonstrations are ``positive``, autonomous frames ``none`` (stage 3).

    Args:
        config: The project.
        inputs: Starting policy and data; left out, those of the project's rounds so far.
    """
    settings, runtime = config.iteration, config.runtime
    if inputs is None:
        refs = ProjectRefs(open_store(), config)
        if not refs.is_bootstrapped():
            bootstrap(config)
        inputs = refs.round_inputs(refs.next_round())
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
    evaluation = evaluate(policy, settings.evaluation, runtime.collect, name=name)
    return Stage3Result(dataset=dataset, policy=policy, evaluation=evaluation)
