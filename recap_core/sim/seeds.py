"""Random streams of an episode: nothing else in the simulator is random.

Collection and evaluation draw from different branches of the seed tree, so no evaluation episode
is ever one that was recorded, whatever the seeds are.
"""

from typing import Literal, NamedTuple

import numpy as np

COLLECTION_BRANCH = 1
EVALUATION_BRANCH = 2
MODES = {"demonstration": 0, "rollout": 1}


class EpisodeSeeds(NamedTuple):
    """One generator per purpose: using one leaves the others as they are."""

    scene: np.random.Generator
    """Where the cube lies."""
    supervisor: np.random.Generator
    """Whether the episode is watched."""
    noise: np.random.Generator
    """The expert's trembling hand."""
    policy: int
    """The policy's own seed, 31 bits (``episode_seed`` of its observations)."""


def collection_seeds(
    *, seed: int, round_index: int, mode: Literal["demonstration", "rollout"], attempt: int
) -> EpisodeSeeds:
    """The streams of attempt ``attempt`` of a collection session."""
    return _spawn((COLLECTION_BRANCH, seed, round_index, MODES[mode], attempt))


def evaluation_seeds(seed: int) -> EpisodeSeeds:
    """The streams of the evaluation episode with this seed."""
    return _spawn((EVALUATION_BRANCH, seed))


def _spawn(path: tuple[int, ...]) -> EpisodeSeeds:
    scene, supervisor, noise, policy = np.random.SeedSequence(path).spawn(4)
    return EpisodeSeeds(
        scene=np.random.default_rng(scene),
        supervisor=np.random.default_rng(supervisor),
        noise=np.random.default_rng(noise),
        policy=int(policy.generate_state(1, np.uint32)[0]) >> 1,
    )
