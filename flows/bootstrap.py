"""Demonstrations to a first policy."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.forms import DemonstrationChoice, FirstTrainingChoice, ProjectName, StageName
from flows.references import ProjectRefs, pretrained_policy
from flows.results import BootstrapResult
from flows.settings import project_of_run, run_settings
from recap_core.config.flows import ProjectConfig
from recap_core.errors import DataError
from recap_core.lineage.artifacts import Dataset, Recording
from tasks.collection import collect
from tasks.datasets import convert, merge, norm_stats
from tasks.evaluation import evaluate
from tasks.refresh import refreshing
from tasks.store import open_store
from tasks.training import train_policy


@flow(name="bootstrap", flow_run_name=lambda: f"bootstrap-{project_of_run(flow_run.parameters)}")
def bootstrap(
    project: ProjectName,
    *,
    demonstrations: DemonstrationChoice = DemonstrationChoice(),
    training: FirstTrainingChoice = FirstTrainingChoice(),
    refresh: tuple[StageName, ...] = (),
    settings: dict[str, Any] = {},  # noqa: B006 - Prefect shows it, nobody changes it
) -> BootstrapResult:
    """Record demonstrations, train a policy on them (SFT, stage 2), and evaluate it.

    The result becomes the project's starting policy, and its current one unless a round's policy is
    in use by now.

    Args:
        project: Whose settings and refs are used: project/robot.
        demonstrations: What the policy learns from.
        training: How long it learns.
        refresh: Stages that run anew although their result is there.
        settings: Any other setting, in the shape of recap.yaml; wins over the fields above.
    """
    config = run_settings(project, demonstrations, training, settings=settings)
    with refreshing(refresh):
        return run_bootstrap(config)


@flow(name="first-policy", flow_run_name="first-policy")
def first_policy(config: ProjectConfig) -> BootstrapResult:
    """A project's bootstrap inside another flow; reused where it was done before."""
    return run_bootstrap(config)


def run_bootstrap(config: ProjectConfig) -> BootstrapResult:
    """Demonstrations, norm stats, SFT, evaluation; then the refs."""
    settings, runtime = config.bootstrap, config.runtime
    pretrained = pretrained_policy(open_store(), config)  # found before anything is recorded
    recordings, demonstrations = _demonstrations(config)
    stats = norm_stats(demonstrations, settings.norm_stats, name="demonstrations")
    policy = train_policy(
        demonstrations, stats, pretrained, settings.sft, runtime.train, name="sft"
    )
    evaluation = None
    if settings.judge == "simulation":
        evaluation = evaluate(policy, settings.evaluation, runtime.collect, name="sft")
    result = BootstrapResult(
        recordings=recordings,
        demonstrations=demonstrations,
        norm_stats=stats,
        policy=policy,
        evaluation=evaluation,
    )
    ProjectRefs(open_store(), config).keep_bootstrap(result)
    return result


def _demonstrations(config: ProjectConfig) -> tuple[tuple[Recording, ...], Dataset]:
    """What the first policy learns from: recorded now, or all that were ingested."""
    settings, name = config.bootstrap, "demonstrations"
    if settings.episodes == "simulation":
        recording = collect(None, settings.demonstrations, config.runtime.collect, name=name)
        return (recording,), convert(recording, settings.convert, name=name)
    recordings = ProjectRefs(open_store(), config).recordings("demonstration")
    if not recordings:
        raise DataError(
            f"no demonstrations were ingested for {config.project}/{config.robot}. Ingest a "
            "session of them: run the flow 'ingest' and say that demonstrations were recorded, or "
            "change bootstrap.episodes"
        )
    datasets = [
        convert(recording, settings.convert, name=f"{name}-{recording.id[:8]}")
        for recording in recordings
    ]
    if len(datasets) == 1:
        return recordings, datasets[0]
    return recordings, merge(datasets, config.iteration.merge, name=name)
