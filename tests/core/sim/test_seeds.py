"""Random streams of episodes."""

from typing import Any

import pytest

from recap_core.sim.seeds import collection_seeds, evaluation_seeds

BASE: dict[str, Any] = {"seed": 1, "round_index": 2, "mode": "rollout", "attempt": 3}


def test_the_same_episode_draws_the_same_numbers() -> None:
    """Seeds are a pure function."""
    first, second = collection_seeds(**BASE), collection_seeds(**BASE)
    assert first.policy == second.policy
    assert first.scene.random() == second.scene.random()


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"round_index": 3}, {"mode": "demonstration"}, {"attempt": 4}]
)
def test_every_part_of_the_address_changes_every_stream(change: dict[str, Any]) -> None:
    """Seed, round, mode and attempt each give other scenes, noise and policy seeds."""
    first, second = collection_seeds(**BASE), collection_seeds(**{**BASE, **change})
    assert first.policy != second.policy
    assert first.scene.random() != second.scene.random()
    assert first.noise.random() != second.noise.random()


def test_evaluation_draws_from_a_branch_of_its_own() -> None:
    """No collection address, even with equal numbers, gives the scene of an evaluation seed."""
    evaluated = {evaluation_seeds(seed).scene.random() for seed in range(100)}
    collected = {
        collection_seeds(seed=seed, round_index=0, mode="demonstration", attempt=0).scene.random()
        for seed in range(100)
    }
    assert len(evaluated) == len(collected) == 100
    assert not evaluated & collected


def test_policy_seeds_fit_31_bits() -> None:
    """They go into 32-bit key makers."""
    assert all(0 <= evaluation_seeds(seed).policy < 2**31 for seed in range(100))
