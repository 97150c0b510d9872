"""Evaluation block by block, on policies whose episodes an earlier evaluation has run."""

import gc
from pathlib import Path

import pytest

from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import EvaluationConfig
from recap_core.errors import DataError
from recap_core.evaluation.sequential import is_at_least, is_better
from recap_core.lineage.artifacts import Evaluation
from recap_core.lineage.store import Store
from recap_core.serving.policy import LoadedPolicy
from recap_core.stages.evaluate import (
    EPISODES_FILE,
    evaluate_policy,
    is_stopped_early,
    publish_outcomes,
)
from recap_core.stages.evaluate_until import BlockEvaluator, known_outcomes
from recap_core.stages.judge import episodes_of
from tests.judged_policies import make_evaluation, make_policy
from tests.simulated_policies import make_tiny_policy

CONFIG = EvaluationConfig(num_episodes=150)
FAILS_THEN_WINS = [0] * 30 + [1] * 120


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def seeds_of(evaluation: Evaluation, store: Store) -> list[int]:
    return [outcome.seed for outcome in episodes_of(evaluation, store)]


def test_it_stops_at_the_end_of_the_block_that_decides(store: Store) -> None:
    """Equal on 30 seeds, then every seed is gained: 20 of the first 50, eight are enough.

    Nobody can load these policies, so not a single episode is run anew.
    """
    old, new = make_policy(store, "old"), make_policy(store, "new")
    make_evaluation(store, old, [0] * 150)
    make_evaluation(store, new, FAILS_THEN_WINS)

    found = BlockEvaluator(CONFIG, store=store).compare(new, old, is_better())

    assert (found.test.verdict, found.test.num_at_verdict) == ("better", 50)
    assert seeds_of(found.new, store) == list(range(500_000, 500_050))
    assert seeds_of(found.reference, store) == seeds_of(found.new, store)
    assert found.new.num_successes == 20
    assert store.manifest(found.new).stage == "evaluate"
    again = BlockEvaluator(CONFIG, store=store).compare(new, old, is_better())
    assert again.new == found.new
    assert is_stopped_early(found.new, store)
    assert is_stopped_early(found.reference, store)


def test_what_was_asked_for_with_a_number_stays_what_it_is(store: Store) -> None:
    """An evaluation of 25 seeds, fixed beforehand, that a comparison would have stopped at."""
    old, new = make_policy(store, "old"), make_policy(store, "new")
    for policy, success in ((old, 0), (new, 1)):
        make_evaluation(store, policy, [success] * 150)
    fixed = make_evaluation(store, new, [1] * 25)

    found = BlockEvaluator(CONFIG, store=store).compare(new, old, is_better())

    assert found.new == fixed
    assert not is_stopped_early(found.new, store)
    assert is_stopped_early(found.reference, store)


def test_it_goes_on_while_anything_is_open(store: Store) -> None:
    """Which is better is known after a block: the rates are not, nor are there seeds enough."""
    old, new = make_policy(store, "old"), make_policy(store, "new")
    make_evaluation(store, old, [0] * 150)
    make_evaluation(store, new, [1] * 100 + [0] * 50)

    def num_seeds(min_episodes: int, of_each: float | None) -> int:
        blocks = BlockEvaluator(CONFIG, min_episodes=min_episodes, store=store)
        rate = None if of_each is None else is_at_least(of_each)
        decided = blocks.compare(new, old, is_better(), of_each=rate)
        assert (decided.test.verdict, decided.test.num_at_verdict) == ("better", 25)
        return decided.new.num_episodes

    assert num_seeds(1, None) == 25
    assert num_seeds(60, None) == 75
    assert num_seeds(1, 0.9) == 75  # 9 (1.11^51 - 1) / 51 = 38 coins after 50, fewer than 40
    assert num_seeds(999, None) == 150


def test_it_ends_with_the_seeds(store: Store) -> None:
    """Two policies that lose as many seeds as they gain: undecided after all of them."""
    old, new = make_policy(store, "old"), make_policy(store, "new")
    make_evaluation(store, old, [0, 1] * 100)
    make_evaluation(store, new, [1, 0] * 100)

    found = BlockEvaluator(CONFIG, store=store).compare(new, old, is_better(margin=0.1))

    assert found.test.verdict == "continue"
    assert found.new.num_episodes == 150
    assert not is_stopped_early(found.new, store)


def test_one_policy_against_a_rate(store: Store) -> None:
    """Nothing but successes: the first block shows that it reaches 80 %."""
    policy = make_policy(store, "new")
    make_evaluation(store, policy, [1] * 150)

    evaluation, test = BlockEvaluator(CONFIG, store=store).reach(policy, is_at_least(0.8))

    assert test.verdict == "better"
    assert evaluation.num_episodes == 25


def loaded_policies() -> set[int]:
    """Ids of the policies that are in memory now."""
    gc.collect()
    return {id(each) for each in gc.get_objects() if type(each) is LoadedPolicy}


def test_blocks_that_are_run_are_the_stages_own_episodes(store: Store) -> None:
    """A real policy on 27 seeds in two blocks, and on all of them at once: equal, file by file."""
    policy = make_tiny_policy(store, "tiny", 3)
    runtime = CollectRuntime(num_robots=5)
    config = EvaluationConfig(num_episodes=27, first_seed=40, max_episode_frames=3)
    same = config.model_copy(update={"confidence": 0.9})  # another key, the same episodes

    before = loaded_policies()  # of other tests in this process
    blocks = BlockEvaluator(config, store=store, runtime=runtime)
    in_blocks, test = blocks.reach(policy, is_at_least(0.02))
    assert loaded_policies() <= before  # it left the device
    at_once = evaluate_policy(policy, same, name="once", store=store, runtime=runtime)

    assert test.verdict == "continue"
    files = [store.path(each) / EPISODES_FILE for each in (in_blocks, at_once)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert in_blocks != at_once


def test_only_episodes_under_the_same_conditions_are_known(store: Store) -> None:
    """Other limits are other episodes; other seeds and another number are not."""
    policy = make_policy(store, "new")
    make_evaluation(store, policy, [1] * 3)
    make_evaluation(
        store, policy, [0] * 2, config=EvaluationConfig(num_episodes=2, first_seed=500_003)
    )
    make_evaluation(
        store, policy, [0] * 9, config=EvaluationConfig(num_episodes=9, max_episode_frames=80)
    )

    known = known_outcomes(policy, CONFIG, store=store)

    assert {seed: outcome.success for seed, outcome in known.items()} == {
        500_000: True,
        500_001: True,
        500_002: True,
        500_003: False,
        500_004: False,
    }


def test_outcomes_of_other_seeds_are_not_published(store: Store) -> None:
    """They would stand for episodes that nobody has run."""
    policy = make_policy(store, "new")
    outcomes = episodes_of(make_evaluation(store, policy, [1] * 3), store)

    with pytest.raises(DataError, match="3 episodes from seed 500000 on"):
        publish_outcomes(outcomes, policy, CONFIG, name="no", store=store)
