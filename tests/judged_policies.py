"""A store of a project whose policies hold nothing, and evaluations that say how they did."""

import json
from collections.abc import Sequence

from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.gate import GateDecision
from recap_core.config.iteration import RecordIterationConfig
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.statistics import summarize
from recap_core.lineage.artifacts import Evaluation, Iteration, PolicyCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.evaluate import EPISODES_FILE
from recap_core.stages.record_iteration import record_iteration
from recap_core.stages.registry import EVALUATE, TRAIN_POLICY

PROJECT = "demo/sim-aloha"


def make_policy(store: Store, name: str) -> PolicyCheckpoint:
    """A policy that nobody can load."""

    def build(area: Build) -> Built:
        (area.output / "name.txt").write_text(name)
        return Built({"num_steps": 1, "num_params": 1})

    config = EvaluationConfig(first_seed=sum(name.encode()))  # any: it makes the key
    return store.produce(TRAIN_POLICY, config, {}, name=name, build=build)


def make_evaluation(
    store: Store,
    policy: PolicyCheckpoint,
    successes: Sequence[int],
    *,
    tasks: Sequence[str] | None = None,
    config: EvaluationConfig | None = None,
) -> Evaluation:
    """An evaluation with these outcomes, seed by seed."""
    settings = config or EvaluationConfig(num_episodes=len(successes))
    outcomes = [
        EpisodeOutcome(
            seed=settings.first_seed + i,
            success=bool(success),
            num_frames=10,
            best_stage=0,
            task=tasks[i] if tasks else None,
        )
        for i, success in enumerate(successes)
    ]

    def build(area: Build) -> Built:
        rows = [outcome.model_dump(mode="json", exclude_none=True) for outcome in outcomes]
        (area.output / EPISODES_FILE).write_text(json.dumps(rows))
        summary = summarize(outcomes)
        return Built(
            {
                "num_episodes": summary.num_episodes,
                "num_successes": summary.num_successes,
                "success_low": summary.success_rate_low,
                "success_high": summary.success_rate_high,
                "successes_per_1000_frames": summary.successes_per_1000_frames,
            }
        )

    return store.produce(EVALUATE, settings, {"policy": policy}, name=policy.name, build=build)


def make_round(
    store: Store, index: int, policy: PolicyCheckpoint, decision: GateDecision
) -> Iteration:
    """The record of a round that made ``policy``."""
    project, robot = PROJECT.split("/")
    config = RecordIterationConfig(
        project=project, robot=robot, round_index=index, decision=decision, settings={}
    )
    return record_iteration({"policy": policy}, config, name=f"round-{index}", store=store)
