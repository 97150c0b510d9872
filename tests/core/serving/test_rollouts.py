"""Rollouts in simulation through a policy server."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.sizes import TINY_POLICY
from recap_core.evaluation.episodes import evaluate
from recap_core.progress import Silent
from recap_core.rollout.frame import Observation
from recap_core.rollout.protocols import PolicyClient
from recap_core.serving.client import RemotePolicy, WebsocketPolicy
from recap_core.serving.host import PolicyHost
from tests.core.serving import tiny

CONFIG = EvaluationConfig(num_episodes=2, max_episode_frames=10)


class Remembering:
    """A policy whose answers are kept."""

    def __init__(self, policy: PolicyClient) -> None:
        self._policy = policy
        self.answers: list[bytes] = []

    def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
        """The policy's answers."""
        chunks = list(self._policy.infer(observations))
        self.answers += [chunk.tobytes() for chunk in chunks]
        return chunks

    def reset(self) -> None:
        """The policy's."""
        self._policy.reset()


def test_a_served_policy_drives_as_one_in_this_process(tmp_path: Path) -> None:
    """Bit for bit: noise follows the episode's seed and frame through the wire."""
    model = TINY_POLICY.model_copy(update={"max_token_len": 24})
    features = ("observation.state", "observation.environment_state")
    embodiment = tiny.CONFIG.embodiment.model_copy(
        update={"state": features, "views": {}, "action_dim": 14, "state_dim": 21}
    )
    config = tiny.CONFIG.model_copy(update={"model": model, "embodiment": embodiment})
    directory = tiny.write_checkpoint(tmp_path / "policy", config=config, dim=21)
    here = Remembering(tiny.LoadedPolicy.load(directory, batch_size=1))
    outcomes = evaluate(here, CONFIG, num_robots=2, progress=Silent())

    with (
        tiny.running(PolicyHost(tiny.served(directory))) as server,
        WebsocketPolicy(server.url) as client,
    ):
        there = Remembering(RemotePolicy(client))
        served = evaluate(there, CONFIG, num_robots=2, progress=Silent())

    assert len(here.answers) == 2 * 3  # four of ten frames per chunk
    assert there.answers == here.answers
    assert served == outcomes
