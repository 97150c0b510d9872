"""Stage E: the success rate of a policy on held-out seeds."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import EvaluationConfig
from recap_core.errors import DataError
from recap_core.lineage.artifacts import Evaluation, PolicyCheckpoint
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress, Silent
from recap_core.stages.registry import EVALUATE

if TYPE_CHECKING:
    from recap_core.evaluation.outcome import EpisodeOutcome

EPISODES_FILE = "episodes.json"
_NUM_ALLOWED: Final = "num_episodes_allowed"
"""Metric of an evaluation that was stopped early: how many episodes it might have taken."""


def evaluate_policy(  # noqa: PLR0913 - all but the first two by name
    policy: PolicyCheckpoint,
    config: EvaluationConfig,
    *,
    name: str,
    store: Store,
    runtime: CollectRuntime | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Run autonomous episodes and count successes, with a Wilson interval."""
    num_robots = (runtime or CollectRuntime()).num_robots

    def build(area: Build) -> Built:
        from recap_core.evaluation.episodes import evaluate

        with device_lock(progress):
            from recap_core.serving.policy import LoadedPolicy  # nothing heavy while it waits

            client = LoadedPolicy.load(store.path(policy), batch_size=num_robots)
            outcomes = evaluate(
                client, config, num_robots=num_robots, progress=progress or Silent()
            )
        return _built(area, outcomes, config)

    return store.produce(EVALUATE, config, {"policy": policy}, name=name, build=build)


def publish_outcomes(  # noqa: PLR0913 - all but the first three by name
    outcomes: "Sequence[EpisodeOutcome]",
    policy: PolicyCheckpoint,
    config: EvaluationConfig,
    *,
    name: str,
    store: Store,
    num_allowed: int | None = None,
) -> Evaluation:
    """The evaluation that these episodes are: what :func:`evaluate_policy` makes, already run.

    Args:
        outcomes: Of the policy under ``config``, one per seed, in order.
        policy: Who drove.
        config: Seeds, episode length, robot.
        name: Name of a new evaluation.
        store: Where it is published.
        num_allowed: Where it was stopped early: how many episodes it might have taken. An
            evaluation of so many episodes that exists was asked for with that number, and stays
            what it is.

    Raises:
        DataError: If they are of other seeds.
    """
    seeds = [outcome.seed for outcome in outcomes]
    if seeds != list(range(config.first_seed, config.first_seed + config.num_episodes)):
        raise DataError(
            f"{len(seeds)} episodes from seed {seeds[0] if seeds else 'none'} on are not the "
            f"{config.num_episodes} from {config.first_seed} on that the settings say; run them"
        )

    def build(area: Build) -> Built:
        built = _built(area, outcomes, config)
        if num_allowed is None or num_allowed <= config.num_episodes:
            return built
        return built._replace(metrics={**built.metrics, _NUM_ALLOWED: num_allowed})

    return store.produce(EVALUATE, config, {"policy": policy}, name=name, build=build)


def is_stopped_early(evaluation: Evaluation, store: Store) -> bool:
    """Whether its number of episodes was not fixed beforehand, but depends on how they went."""
    return _NUM_ALLOWED in store.manifest(evaluation).metrics


def _built(area: Build, outcomes: "Sequence[EpisodeOutcome]", config: EvaluationConfig) -> Built:
    rows = [outcome.model_dump(mode="json", exclude_none=True) for outcome in outcomes]
    (area.output / EPISODES_FILE).write_text(json.dumps(rows, indent=1) + "\n")
    return counted(outcomes, confidence=config.confidence)


def counted(outcomes: "Sequence[EpisodeOutcome]", *, confidence: float) -> Built:
    """Fields and metrics of the evaluation that these episodes make.

    Raises:
        DataError: If there are none, or somebody took over in one.
    """
    from recap_core.evaluation.statistics import summarize

    summary = summarize(outcomes, confidence=confidence)
    details = {
        "num_episodes": summary.num_episodes,
        "num_successes": summary.num_successes,
        "success_low": summary.success_rate_low,
        "success_high": summary.success_rate_high,
        "successes_per_1000_frames": summary.successes_per_1000_frames,
    }
    return Built(details, {"success_rate": summary.success_rate})
