"""Demonstrations to a first policy."""

from prefect import flow

from flows.references import ProjectRefs, pretrained_policy
from flows.results import BootstrapResult
from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import tiny_project
from tasks.collection import collect
from tasks.datasets import convert, norm_stats
from tasks.evaluation import evaluate
from tasks.store import open_store
from tasks.training import train_policy


@flow(name="bootstrap", flow_run_name="bootstrap-{config.project}")
def bootstrap(config: ProjectConfig = tiny_project()) -> BootstrapResult:
    """Record demonstrations, train a policy on them (SFT, stage 2), and evaluate it.

    The result becomes the project's starting policy, and its current one if the starting policy is
    new.
    """
    settings, runtime = config.bootstrap, config.runtime
    pretrained = pretrained_policy(open_store(), config)  # found before anything is recorded
    recording = collect(None, settings.demonstrations, runtime.collect, name="demonstrations")
    demonstrations = convert(recording, settings.convert, name="demonstrations")
    stats = norm_stats(demonstrations, settings.norm_stats, name="demonstrations")
    policy = train_policy(
        demonstrations, stats, pretrained, settings.sft, runtime.train, name="sft"
    )
    evaluation = evaluate(policy, settings.evaluation, runtime.collect, name="sft")
    result = BootstrapResult(
        recording=recording,
        demonstrations=demonstrations,
        norm_stats=stats,
        policy=policy,
        evaluation=evaluation,
    )
    ProjectRefs(open_store(), config).keep_bootstrap(result)
    return result
