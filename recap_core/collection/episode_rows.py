"""The rows of a live episode, one per control tick, and the arrays that they become (SPEC §2.4)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from recap_core.errors import EpisodeError
from recap_core.rollout.live import ArmLayout, LiveFrame, RobotDescription
from recap_core.rollout.phase import Phase

STATE = "observation.state"
VELOCITY = "observation.joint_velocity"
EFFORT = "observation.joint_effort"
EE_POSE = "observation.ee_pose"
ENVIRONMENT_STATE = "observation.environment_state"
OPTIONAL = (VELOCITY, EFFORT, EE_POSE, ENVIRONMENT_STATE)
"""What not every robot says; kept only where every tick of an episode has it."""
POSE_DIMS = 7
"""Position and quaternion."""


class _Row(NamedTuple):
    time_s: float
    state: np.ndarray
    action: np.ndarray
    policy_action: np.ndarray | None
    policy_id: str
    phase: Phase
    correction_index: int
    leader_state: np.ndarray | None
    extra: dict[str, np.ndarray]


class EpisodeRows:
    """Copies of all small values of an episode, in memory: about a kilobyte per tick.

    Args:
        robot: Says which dims belong to which arm.
    """

    def __init__(self, robot: RobotDescription) -> None:
        self._robot = robot
        self._rows: list[_Row] = []
        self.num_padded = 0
        """Rows of arms that said nothing, filled from their neighbours; known once written."""

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, frame: LiveFrame, time_s: float) -> None:
        """Copy a frame; its images are left out.

        Args:
            frame: The frame.
            time_s: Its time, later than the one before.

        Raises:
            ValueError: If state or action have other dims than before, or are no numbers.
            KeyError: If the observation has no state.
        """
        observation = frame.observation
        row = _Row(
            time_s,
            _copy(observation[STATE]),
            _copy(frame.action),
            None if frame.policy_action is None else _copy(frame.policy_action),
            str(frame.policy_id),
            Phase(frame.phase),
            int(frame.correction_index),
            None if frame.leader_state is None else _copy(frame.leader_state),
            {key: _copy(observation[key]) for key in OPTIONAL if _is_given(observation.get(key))},
        )
        first = self._rows[0] if self._rows else self._checked(row)
        for name, found, wanted in (
            (STATE, row.state, first.state),
            ("the action", row.action, first.action),
            ("the policy's action", row.policy_action, first.action),
        ):
            if found is not None and found.shape != wanted.shape:
                raise ValueError(f"{name} has shape {found.shape}, and had {wanted.shape}")
        self._rows.append(row)

    def _checked(self, row: _Row) -> _Row:
        """A first row that has all the dims that the robot's arms name."""
        needed = 1 + max(
            (max(-1, *arm.joints, *arm.gripper) for arm in self._robot.arms), default=-1
        )
        for name, values in ((STATE, row.state), ("the action", row.action)):
            if values.ndim != 1 or len(values) < needed:
                raise ValueError(f"{name} has shape {values.shape}, but arms name {needed} dims")
        return row

    def times(self) -> Float64[np.ndarray, " t"]:
        """Unix seconds of every tick, rising."""
        return np.array([row.time_s for row in self._rows], dtype=np.float64)

    def phases(self) -> list[Phase]:
        """Phase of every tick."""
        return [row.phase for row in self._rows]

    @property
    def num_corrections(self) -> int:
        """Corrections begun."""
        return self._rows[-1].correction_index if self._rows else 0

    def policy_ids(self) -> list[str]:
        """Policies that were heard, each once, in the order of their first word."""
        return [name for name in dict.fromkeys(row.policy_id for row in self._rows) if name]

    def write(self, directory: Path) -> None:
        """Write all arrays of the episode; every one has a row per tick.

        Raises:
            EpisodeError: If an arm has never said where it is.
            OSError: If a file cannot be written.
        """
        self.num_padded = 0
        np.save(directory / "timestamps.npy", self.times())
        self._write_arms(directory)
        self._write_leaders(directory)
        phases = np.array([phase.value for phase in self.phases()], dtype="<U16")
        np.save(directory / "phase.npy", phases)
        np.save(directory / "interventions.npy", phases == Phase.CORRECTING.value)
        corrections = [row.correction_index for row in self._rows]
        np.save(directory / "correction_index.npy", np.array(corrections, dtype=np.int32))
        np.save(directory / "policy_id.npy", np.array([row.policy_id for row in self._rows]))
        if (environment := self._optional(ENVIRONMENT_STATE)) is not None:
            np.save(directory / "environment_state.npy", environment)

    def _write_arms(self, directory: Path) -> None:
        state = np.stack([row.state for row in self._rows])
        action = np.stack([row.action for row in self._rows])
        wanted = np.stack(
            [_or_nan(row.policy_action, row.action.shape) for row in self._rows], dtype=np.float32
        )
        per_joint = {"joint_vel": self._optional(VELOCITY), "joint_eff": self._optional(EFFORT)}
        poses = self._optional(EE_POSE)
        for index, arm in enumerate(self._robot.arms):
            arrays = self._positions(arm, state)
            for key, values in per_joint.items():
                if values is not None and values.shape == state.shape:
                    arrays[key] = values[:, arm.joints]
            pose_dims = slice(index * POSE_DIMS, (index + 1) * POSE_DIMS)
            if poses is not None and poses[:, pose_dims].shape[1] == POSE_DIMS:
                arrays["ee_pose"] = poses[:, pose_dims]
            _save_arrays(directory / f"{arm.name}_states.npz", arrays)
            dims = [*arm.joints, *arm.gripper]
            sent = self._filled(action[:, dims], f"the action of arm {arm.name}")
            np.savez(directory / f"{arm.name}_actions.npz", pos=sent)
            np.savez(directory / f"{arm.name}_policy_actions.npz", pos=wanted[:, dims])

    def _write_leaders(self, directory: Path) -> None:
        said = [row.leader_state for row in self._rows if row.leader_state is not None]
        if not self._robot.leaders or not said:
            return
        state = np.stack([_or_nan(row.leader_state, said[0].shape) for row in self._rows])
        for arm in self._robot.leaders:
            _save_arrays(directory / f"{arm.name}_states.npz", self._positions(arm, state))

    def _positions(
        self, arm: ArmLayout, state: Float[np.ndarray, "t s"]
    ) -> dict[str, Float[np.ndarray, "t _"]]:
        dims = [*arm.joints, *arm.gripper]
        own = self._filled(state[:, dims], f"the state of arm {arm.name}")
        num_joints = len(arm.joints)
        arrays = {"joint_pos": own[:, :num_joints]}
        if arm.gripper:
            arrays["gripper_pos"] = own[:, num_joints:]
        return arrays

    def _filled(self, values: Float[np.ndarray, "t d"], what: str) -> Float[np.ndarray, "t d"]:
        """Rows that are not finite become the row before them; leading ones, the first finite."""
        is_said = np.isfinite(values).all(axis=1)
        if is_said.all():
            return values
        if not is_said.any():
            raise EpisodeError(f"{what} was no number in any tick. Check the robot.")
        self.num_padded += int((~is_said).sum())
        rows = np.arange(len(values))
        last = np.maximum.accumulate(np.where(is_said, rows, -1))
        return values[np.where(last < 0, int(np.argmax(is_said)), last)]

    def _optional(self, key: str) -> Float[np.ndarray, "t _"] | None:
        """An array that every tick has, with the same dims and no NaN; else None."""
        values = [row.extra.get(key) for row in self._rows]
        present = [value for value in values if value is not None and value.ndim == 1]
        shapes = {value.shape for value in present}
        if len(present) < len(values) or len(shapes) != 1 or not np.isfinite(present).all():
            return None
        return np.stack(present)


def timing_of(times: Float64[np.ndarray, " t"], fps: int) -> dict[str, float]:
    """How regular the ticks of an episode were.

    Args:
        times: Of at least two ticks, rising, seconds.
        fps: The rate that was wanted, Hz.

    Returns:
        ``mean_hz``; median and 99th percentile of ``|step - 1 / fps|`` and the longest step,
        milliseconds; ``num_late``: steps longer than one and a half ticks.
    """
    steps = np.diff(times)
    jitter_ms = 1e3 * np.abs(steps - 1 / fps)
    return {
        "mean_hz": float(len(steps) / steps.sum()),
        "jitter_p50_ms": float(np.percentile(jitter_ms, 50)),
        "jitter_p99_ms": float(np.percentile(jitter_ms, 99)),
        "longest_step_ms": float(1e3 * steps.max()),
        "num_late": int((steps > 1.5 / fps).sum()),
    }


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def _copy(values: Any) -> Float[np.ndarray, "..."]:  # noqa: ANN401 - whatever a driver gives
    return np.array(values, dtype=np.float32)


def _is_given(value: object) -> bool:
    return value is not None


def _or_nan(values: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, np.nan, dtype=np.float32) if values is None else values
