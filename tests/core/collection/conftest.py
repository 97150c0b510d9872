"""Policies and sessions for the tests of collection."""

from collections.abc import Sequence

import numpy as np
import pytest

from recap_core.errors import RenderingError
from recap_core.rollout.frame import Observation
from recap_core.sim.rendering import probe_rendering


class WanderingPolicy:
    """Small random steps from where the robot is, seeded by episode and frame."""

    def __init__(self) -> None:
        self.num_resets = 0

    def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
        """Four steps each."""
        return [self._chunk(observation) for observation in observations]

    def reset(self) -> None:
        """Count."""
        self.num_resets += 1

    @staticmethod
    def _chunk(observation: Observation) -> np.ndarray:
        rng = np.random.default_rng([observation["episode_seed"], observation["frame_index"]])
        steps = np.cumsum(rng.normal(0, 0.05, (4, 14)), axis=0)
        return (observation["observation.state"] + steps).astype(np.float32)


@pytest.fixture
def policy() -> WanderingPolicy:
    return WanderingPolicy()


@pytest.fixture(scope="session")
def gl() -> None:
    """Skips what needs a GL context where there is none."""
    try:
        probe_rendering()
    except RenderingError as error:
        pytest.skip(str(error))
