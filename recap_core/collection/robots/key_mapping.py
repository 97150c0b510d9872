"""From lerobot's keys to ours: which are state, action, arms and cameras."""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.collection.robots.arms import infer_arms
from recap_core.config.live_robot import LerobotConfig
from recap_core.errors import ConfigError
from recap_core.rollout.live import ArmLayout, CameraFormat

WILDCARDS = frozenset("*?[")
COLOURS = 3


class KeyMapping(NamedTuple):
    """lerobot's keys in the order of our dims."""

    state: tuple[str, ...]
    action: tuple[str, ...]
    velocity: tuple[str, ...]
    effort: tuple[str, ...]
    cameras: Mapping[str, str]
    """lerobot's key by our name."""
    formats: Mapping[str, CameraFormat]
    """By our name."""
    arms: tuple[ArmLayout, ...]
    action_low: Float[np.ndarray, " a"] | None
    action_high: Float[np.ndarray, " a"] | None


def map_keys(
    config: LerobotConfig,
    observation_features: Mapping[str, Any],
    action_features: Mapping[str, Any],
) -> KeyMapping:
    """The mapping that a config asks for, with what it leaves out inferred.

    Args:
        config: ``state``, ``action``, ``cameras``, ``arms``, ``limits``.
        observation_features: As lerobot describes them: ``float`` per number, (height, width,
            channels) per camera.
        action_features: Likewise.

    Raises:
        ConfigError: If a key does not exist, or the arms do not fit; it says which there are.
    """
    numbers = _numbers(observation_features)
    action = expand(config.action, _numbers(action_features), "action") or _numbers(action_features)
    if not action:
        raise ConfigError(
            f"{config.type or 'the robot'} takes no single numbers as its action (it has "
            f"{dict(action_features)}); such robots cannot be driven by joint targets"
        )
    default_state = action if set(action) <= set(numbers) else numbers
    state = expand(config.state, numbers, "state") or default_state
    cameras = _cameras(config, observation_features)
    arms = _arms(config, action)
    _check_arms(arms, state, action)
    low, high = _limits(config, action)
    return KeyMapping(
        state=state,
        action=action,
        velocity=_per_dim(config.velocity, numbers, "velocity", len(action)),
        effort=_per_dim(config.effort, numbers, "effort", len(action)),
        cameras=cameras,
        formats={
            name: CameraFormat(*observation_features[key][:2]) for name, key in cameras.items()
        },
        arms=arms,
        action_low=low,
        action_high=high,
    )


def unused_keys(mapping: KeyMapping, observation_features: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys of the robot's observation that are not recorded."""
    used = {*mapping.state, *mapping.velocity, *mapping.effort, *mapping.cameras.values()}
    return tuple(key for key in observation_features if key not in used)


def expand(patterns: Sequence[str], available: Sequence[str], what: str) -> tuple[str, ...]:
    """The keys that names and patterns stand for, in order; a pattern adds those not yet named.

    Raises:
        ConfigError: If one stands for no key, or a key is named twice.
    """
    found: list[str] = []
    for pattern in patterns:
        is_pattern = pattern not in available and bool(WILDCARDS & set(pattern))
        matches = [
            key for key in available if key == pattern or (is_pattern and fnmatchcase(key, pattern))
        ]
        if not matches:
            raise no_such_key(pattern, available, what)
        found += [key for key in matches if not (is_pattern and key in found)]
    twice = sorted({key for key in found if found.count(key) > 1})
    if twice:
        raise ConfigError(f"{what} names {', '.join(twice)} twice; name every key once")
    return tuple(found)


def no_such_key(key: str, available: Sequence[str], what: str) -> ConfigError:
    """The error for a key that does not exist."""
    close = difflib.get_close_matches(key, list(available), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ConfigError(
        f"{what} names {key!r}, which the device does not have.{hint} "
        f"It has {', '.join(available) or 'none'}."
    )


def _numbers(features: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key for key, feature in features.items() if isinstance(feature, type))


def _is_colour(feature: object) -> bool:
    return isinstance(feature, tuple) and len(feature) == COLOURS and feature[-1] == COLOURS


def _cameras(config: LerobotConfig, features: Mapping[str, Any]) -> dict[str, str]:
    available = [key for key, feature in features.items() if _is_colour(feature)]
    if config.cameras is None:
        return {key: key for key in available}
    for name, key in config.cameras.items():
        if key not in available:
            raise no_such_key(key, available, f"cameras.{name}")
    return dict(config.cameras)


def _arms(config: LerobotConfig, action: tuple[str, ...]) -> tuple[ArmLayout, ...]:
    if not config.arms:
        return infer_arms(action, tuple(config.parts) or ("left", "right"))
    arms = []
    for arm in config.arms:
        gripper = expand(arm.gripper, action, f"gripper of arm {arm.name}")
        joints = expand(arm.joints, action, f"joints of arm {arm.name}")
        arms.append(
            ArmLayout(
                arm.name,
                tuple(action.index(key) for key in joints if key not in gripper),
                tuple(action.index(key) for key in gripper),
            )
        )
    return tuple(arms)


def _check_arms(arms: Sequence[ArmLayout], state: tuple[str, ...], action: tuple[str, ...]) -> None:
    """Every dim of the action is one arm's, and the state has it, too."""
    dims = [dim for arm in arms for dim in (*arm.joints, *arm.gripper)]
    missing = [key for dim, key in enumerate(action) if dims.count(dim) != 1]
    if missing:
        raise ConfigError(
            f"every key of the action belongs to exactly one arm, but {', '.join(missing)} "
            f"{'does' if len(missing) == 1 else 'do'} not; correct 'arms'"
        )
    if len(state) < len(action):
        raise ConfigError(
            f"the state has {len(state)} keys ({', '.join(state)}), the action {len(action)} "
            f"({', '.join(action)}); an arm's dims are the same in both. Name them in 'state'"
        )
    for dim, key in enumerate(action):
        if key in state and state[dim] != key:
            raise ConfigError(
                f"{key} is dim {dim} of the action, but dim {state.index(key)} of the state; an "
                "arm's dims are the same in both. Name the keys of both in the same order"
            )


def _per_dim(
    patterns: Sequence[str], numbers: tuple[str, ...], what: str, num_dims: int
) -> tuple[str, ...]:
    keys = expand(patterns, numbers, what)
    if keys and len(keys) != num_dims:
        raise ConfigError(
            f"{what} names {len(keys)} keys ({', '.join(keys)}), but needs one per action dim, "
            f"which are {num_dims}"
        )
    return keys


def _limits(
    config: LerobotConfig, action: tuple[str, ...]
) -> tuple[Float[np.ndarray, " a"] | None, Float[np.ndarray, " a"] | None]:
    if not config.limits:
        return None, None
    low = np.full(len(action), -np.inf, dtype=np.float32)
    high = np.full(len(action), np.inf, dtype=np.float32)
    for pattern, (lowest, highest) in reversed(config.limits.items()):
        for key in expand((pattern,), action, "limits"):
            low[action.index(key)], high[action.index(key)] = lowest, highest
    return low, high
