"""Policies that need no server: to try a cell out, and for tests and benchmarks."""

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from recap_core.collection.robots.sim import SimLiveRobot
from recap_core.config.live_robot import ScriptedPolicyConfig
from recap_core.config.robot import ExpertConfig
from recap_core.rollout.frame import Observation
from recap_core.rollout.live import PolicyAnswer, PolicyStatus
from recap_core.sim.expert import TremblingExpert

WAVE_PERIOD_S = 4.0
WAVE_SHARE = 0.05
"""Amplitude of a wave, in the unit of the joint."""


class ClumsyExpert:
    """The simulator's expert with trembling arms, which at times gives up half-way.

    It then stands still, which an operator can correct: when control comes back (:meth:`reset`) it
    tries anew.

    Args:
        robot: The robot it looks at; connected when it is first asked.
        config: How clumsy.
    """

    POLICY_ID = "scripted"

    def __init__(self, robot: SimLiveRobot, config: ScriptedPolicyConfig) -> None:
        self._robot = robot
        self._config = config
        self._rng = np.random.default_rng(config.seed)
        self._driver: TremblingExpert | None = None
        self._stalls_after: int | None = None
        self._num_asked = 0
        self._held: Float[np.ndarray, " a"] | None = None

    def action(self, observation: Observation) -> PolicyAnswer:
        """The expert's action plus its tremble, or the pose in which it has given up."""
        driver = self._driver or self._try_anew()
        self._num_asked += 1
        if self._stalls_after is not None and self._num_asked > self._stalls_after:
            if self._held is None:
                self._held = np.array(observation["observation.state"], dtype=np.float32)
            return PolicyAnswer(self._held.copy(), policy_id=self.POLICY_ID)
        return PolicyAnswer(driver.get_action()["action"], policy_id=self.POLICY_ID)

    def reset(self) -> None:
        """Try anew, and maybe give up again."""
        self._driver = None

    def status(self) -> PolicyStatus:
        """Always there."""
        return scripted_status(self.POLICY_ID)

    def close(self) -> None:
        """Nothing to do."""

    def _try_anew(self) -> TremblingExpert:
        config, rng = self._config, self._rng
        tremble = ExpertConfig(noise_rad=config.noise_rad)
        self._driver = TremblingExpert(self._robot.make_expert(), tremble, rng)
        first, last = config.stall_after
        stalls, after = rng.random() < config.stall_share, int(rng.integers(first, last + 1))
        self._stalls_after = after if stalls else None
        self._num_asked, self._held = 0, None
        return self._driver


class WavePolicy:
    """Waves all joints around where they were when it got control; for robots that do not mind.

    Args:
        now: Seconds that pass.
    """

    POLICY_ID = "wave"

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._start: tuple[float, Float[np.ndarray, " a"]] | None = None

    def action(self, observation: Observation) -> PolicyAnswer:
        """The next point of the wave."""
        if self._start is None:
            state = np.array(observation["observation.state"], dtype=np.float32)
            self._start = (self._now(), state)
        since_s, centre = self._now() - self._start[0], self._start[1]
        wave = WAVE_SHARE * np.sin(2 * np.pi * since_s / WAVE_PERIOD_S)
        return PolicyAnswer((centre + wave).astype(np.float32), policy_id=self.POLICY_ID)

    def reset(self) -> None:
        """Wave around the next state."""
        self._start = None

    def status(self) -> PolicyStatus:
        """Always there."""
        return scripted_status(self.POLICY_ID)

    def close(self) -> None:
        """Nothing to do."""


def scripted_status(policy_id: str) -> PolicyStatus:
    """Status of a policy that is neither far away nor ever late."""
    return PolicyStatus(
        where="scripted",
        policy_id=policy_id,
        is_connected=True,
        latency_ms=None,
        latency_p95_ms=None,
        num_reconnects=0,
        num_late=0,
    )
