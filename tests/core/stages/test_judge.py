"""What becomes of a new policy, from evaluations in a store."""

import json
from pathlib import Path

import pytest

from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.gate import GateConfig
from recap_core.evaluation.gate_words import STOPPED_EARLY
from recap_core.lineage.artifacts import Evaluation
from recap_core.lineage.store import Store
from recap_core.stages.evaluate import EPISODES_FILE, publish_outcomes
from recap_core.stages.judge import episodes_of, judge
from tests.judged_policies import make_evaluation, make_policy

GOOD, BAD = [1] * 30 + [0] * 10, [0] * 30 + [1] * 10


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.mark.parametrize(
    ("was", "now", "config", "verdict"),
    [
        (BAD, GOOD, GateConfig(), "promoted"),
        (BAD, GOOD, GateConfig(approval="person"), "candidate"),
        (BAD, GOOD, GateConfig(rule="never"), "candidate"),
        (GOOD, BAD, GateConfig(), "kept"),
        (GOOD, BAD, GateConfig(rule="always"), "promoted"),
        (GOOD, GOOD, GateConfig(), "promoted"),
        (GOOD, GOOD, GateConfig(rule="better"), "candidate"),
        (GOOD[:10], GOOD[:10], GateConfig(), "candidate"),
    ],
)
def test_a_verdict_follows_from_the_episodes(
    store: Store, was: list[int], now: list[int], config: GateConfig, verdict: str
) -> None:
    """Shown worse: kept. Passed: promoted, or a person's. Anything else: a candidate."""
    old, new = make_policy(store, "old"), make_policy(store, "new")

    decision = judge(
        make_evaluation(store, old, was), make_evaluation(store, new, now), config,
        offline=None, store=store,
    )  # fmt: skip

    assert decision.verdict == verdict
    assert decision.overall is not None
    assert decision.overall.is_paired
    assert decision.reasons[0].endswith((".", "?"))
    assert any(" interval " in reason for reason in decision.reasons)


def test_an_undecided_round_says_what_would_decide_it(store: Store) -> None:
    """10 episodes: 10 more for the least number; in the sentence and for programs."""
    policy = make_policy(store, "one")
    few = make_evaluation(store, policy, GOOD[:10])

    decision = judge(few, few, GateConfig(), offline=None, store=store)

    assert decision.num_more_episodes == 10
    assert decision.reasons[0] == (
        "Undecided: 10 episodes of the new policy, and gate.min_episodes is 20: evaluate 10 more."
    )


def test_without_an_evaluation_a_person_decides(store: Store) -> None:
    """Of either policy; the sentence says which is missing."""
    some = make_evaluation(store, make_policy(store, "one"), GOOD)

    no_new = judge(some, None, GateConfig(), offline=None, store=store)
    no_current = judge(None, some, GateConfig(), offline=None, store=store)

    assert (no_new.verdict, no_current.verdict) == ("candidate", "candidate")
    assert no_new.reasons[0].startswith("The new policy was not evaluated")
    assert no_current.reasons[0].startswith("The current policy was not evaluated")


def test_evaluations_under_other_conditions_are_not_compared(store: Store) -> None:
    """A longer limit makes it easier; cameras and more episodes do not."""
    policy = make_policy(store, "one")
    plain = make_evaluation(store, policy, BAD)
    longer = make_evaluation(
        store, policy, GOOD, config=EvaluationConfig(num_episodes=40, max_episode_frames=90)
    )
    wider = make_evaluation(
        store, policy, GOOD, config=EvaluationConfig(num_episodes=40, first_seed=900_000)
    )

    refused = judge(plain, longer, GateConfig(), offline=None, store=store)

    assert refused.verdict == "candidate"
    assert "differ in max_episode_frames" in refused.reasons[0]
    decided = judge(plain, wider, GateConfig(), offline=None, store=store)
    assert decided.verdict == "promoted"
    assert decided.overall is not None
    assert not decided.overall.is_paired


def test_what_was_stopped_early_is_said_to_be(store: Store) -> None:
    """In the reasons, whichever of the two it was; not where the number was fixed."""
    old, new = make_policy(store, "old"), make_policy(store, "new")
    before, after = make_evaluation(store, old, BAD), make_evaluation(store, new, GOOD)
    longer = make_policy(store, "longer")
    early = publish_outcomes(
        episodes_of(after, store), longer, EvaluationConfig(num_episodes=40),
        name="longer", store=store, num_allowed=300,
    )  # fmt: skip

    def reasons(current: Evaluation, other: Evaluation) -> tuple[str, ...]:
        return judge(current, other, GateConfig(), offline=None, store=store).reasons

    assert STOPPED_EARLY in reasons(before, early)
    assert STOPPED_EARLY in reasons(early, after)
    assert STOPPED_EARLY not in reasons(before, after)


def test_tasks_are_told_apart(store: Store) -> None:
    """By the episodes' own task; without one it is the evaluation's instruction."""
    old, new = make_policy(store, "old"), make_policy(store, "new")
    tasks = ["cube"] * 40 + ["drawer"] * 20
    before = make_evaluation(store, old, BAD + [1] * 20, tasks=tasks)
    after = make_evaluation(store, new, GOOD + [0] * 20, tasks=tasks)

    decision = judge(before, after, GateConfig(), offline=None, store=store)

    assert [(task.task, task.outcome) for task in decision.tasks] == [
        ("cube", "better"), ("drawer", "worse"),
    ]  # fmt: skip
    assert decision.verdict == "kept"
    assert "worse than the current one on 'drawer'" in decision.reasons[0]
    plain = make_evaluation(store, new, GOOD)
    assert {episode.task for episode in episodes_of(plain, store)} == {"transfer cube"}
    rows = json.loads((store.path(plain) / EPISODES_FILE).read_text())
    assert set(rows[0]) == {
        "seed", "success", "num_frames", "num_correcting_frames", "best_stage",
    }  # fmt: skip
