"""Stage E: the success rate of a policy on held-out seeds."""

import json

from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import EvaluationConfig
from recap_core.lineage.artifacts import Evaluation, PolicyCheckpoint
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress, Silent
from recap_core.stages.registry import EVALUATE

EPISODES_FILE = "episodes.json"


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
        from recap_core.evaluation.statistics import summarize
        from recap_core.serving.policy import LoadedPolicy

        with device_lock(progress):
            client = LoadedPolicy.load(store.path(policy), batch_size=num_robots)
            outcomes = evaluate(
                client, config, num_robots=num_robots, progress=progress or Silent()
            )
        rows = [outcome.model_dump(mode="json", exclude_none=True) for outcome in outcomes]
        (area.output / EPISODES_FILE).write_text(json.dumps(rows, indent=1) + "\n")
        summary = summarize(outcomes, confidence=config.confidence)
        details = {
            "num_episodes": summary.num_episodes,
            "num_successes": summary.num_successes,
            "success_low": summary.success_rate_low,
            "success_high": summary.success_rate_high,
            "successes_per_1000_frames": summary.successes_per_1000_frames,
        }
        return Built(details, {"success_rate": summary.success_rate})

    return store.produce(EVALUATE, config, {"policy": policy}, name=name, build=build)
