"""``recap promote``, ``reject``, ``rollback``, ``candidates`` as a user meets them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.gate import GateDecision
from recap_core.errors import ConfigError
from recap_core.evaluation.gate_words import STOPPED_EARLY
from recap_core.lineage.store import Store
from recap_core.stages.evaluate import publish_outcomes
from recap_core.stages.judge import episodes_of
from tests.judged_policies import PROJECT, make_evaluation, make_policy, make_round


@pytest.fixture
def store(recap_home: Path) -> Store:
    """One round has made a candidate that is better; the policy in use was evaluated too."""
    store = Store(recap_home)
    old, new = make_policy(store, "old"), make_policy(store, "new")
    make_evaluation(store, old, [0] * 20 + [1] * 10)
    make_evaluation(store, new, [1] * 30)
    reasons = ("gate.approval is person: it waits.",)
    make_round(store, 1, new, GateDecision(verdict="candidate", reasons=reasons))
    store.set_ref(f"{PROJECT}/current", old)
    store.set_ref(f"{PROJECT}/candidate", new)
    return store


def recap(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def answer(*arguments: str) -> dict[str, Any]:
    done = recap(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def current(store: Store) -> str:
    found = store.get_ref(f"{PROJECT}/current")
    assert found is not None
    return found.name


def test_a_candidate_is_promoted_and_rolled_back(store: Store) -> None:
    """With the comparison on the way; the history says who and why."""
    done = recap("promote", "--note", "steady grip", "--by", "ana")

    assert done.exit_code == 0
    assert "+66.7 points" in done.output
    assert current(store) == "new"
    change = store.ref_history(f"{PROJECT}/current")[-1]
    assert (change.by, change.note) == ("ana", "steady grip")
    assert answer("promote")["changed"] is False
    assert answer("rollback", "--project", "demo")["current"] == change.previous
    assert current(store) == "old"
    told = recap("promote", "candidate")
    assert "Rolled back by " in told.output
    assert current(store) == "new"


def test_candidates_show_gate_people_and_numbers(store: Store) -> None:
    """A row per policy that a round made."""
    [row] = answer("candidates")["policies"]
    assert (row["round"], row["verdict"], row["decision"]) == (1, "candidate", None)
    assert row["success"].endswith("30 of 30")
    assert "waits" in recap("candidates").output

    recap("reject", "--note", "drops the cube")

    [row] = answer("candidates")["policies"]
    assert row["decision"] == "rejected"
    assert "drops the cube" in row["decided"]
    table = recap("candidates").output
    assert "rejected" in table
    assert "waits" not in table  # nothing is left to decide
    assert current(store) == "old"


def test_the_newest_settings_and_the_most_episodes_of_both_decide(store: Store) -> None:
    """An older evaluation under other settings does not; nor one that only one policy had."""
    old, new = make_policy(store, "one"), make_policy(store, "other")
    store.set_ref(f"{PROJECT}/current", old)
    store.set_ref(f"{PROJECT}/candidate", new)
    for num_episodes, first_seed, frames, policy in (
        (90, 500_000, 80, old),
        (90, 500_000, 80, new),
        (40, 510_000, 60, old),
        (45, 520_000, 60, new),
        (10, 530_000, 60, old),
        (70, 540_000, 60, new),
    ):
        config = EvaluationConfig(
            num_episodes=num_episodes, first_seed=first_seed, max_episode_frames=frames
        )
        make_evaluation(store, policy, [policy == new] * num_episodes, config=config)

    [row] = answer("candidates", "--limit", "1")["policies"]
    reasons = answer("promote")["reasons"]

    assert "in 70 of 70 episodes (100.0 %), the current one in 0 of 40" in reasons[1]
    assert row["name"].startswith("other")
    assert row["success"].endswith("70 of 70")


def test_what_was_stopped_early_is_said_to_be(store: Store) -> None:
    """By candidates, with a mark, and by promote; an evaluation with more episodes decides."""
    old, new = make_policy(store, "weak"), make_policy(store, "strong")
    store.set_ref(f"{PROJECT}/current", old)
    store.set_ref(f"{PROJECT}/candidate", new)
    evaluations = [make_evaluation(store, old, [0] * 40), make_evaluation(store, new, [1] * 40)]
    for policy, evaluation in zip((old, new), evaluations, strict=True):
        publish_outcomes(
            episodes_of(evaluation, store)[:25],
            policy,
            EvaluationConfig(num_episodes=25),
            name=policy.name,
            store=store,
            num_allowed=300,
        )

    [row] = answer("candidates", "--limit", "1")["policies"]
    assert row["success"].endswith("40 of 40")  # not the newest one
    assert row["is_stopped_early"] is False
    for evaluation in evaluations:
        store.remove(evaluation)

    [row] = answer("candidates", "--limit", "1")["policies"]
    assert row["success"].endswith("25 of 25")
    assert row["is_stopped_early"] is True
    table = " ".join(recap("candidates").output.split())
    assert "25 of 25*" in table
    assert f"* {STOPPED_EARLY}" in table
    assert STOPPED_EARLY in answer("promote")["reasons"]


def test_a_policy_that_was_not_evaluated_is_said_to_be(store: Store) -> None:
    """It is promoted all the same: a person's word counts."""
    fresh = make_policy(store, "fresh")

    said = answer("promote", fresh.id)

    assert said["evaluated"] is False
    assert "has not been evaluated" in said["reasons"][0]
    assert current(store) == "fresh"


def test_a_store_of_two_projects_needs_a_name(store: Store) -> None:
    """The error lists them."""
    store.set_ref("other/arm/current", make_policy(store, "theirs"))

    done = recap("promote")

    assert isinstance(done.exception, ConfigError)
    assert "demo/sim-aloha, other/arm" in str(done.exception)
    assert answer("candidates", "--project", "demo/sim-aloha")["policies"]
