"""What a rollout consists of: observations, actions, frames and outcomes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.rollout.phase import Phase

type Observation = Mapping[str, Any]
"""Dataset feature to array; towards a policy also ``prompt`` (str), ``episode_seed`` and
``frame_index`` (int). Camera images may be rendered when they are first read: read them before the
robot moves."""

type Action = Mapping[str, np.ndarray]
"""``{"action": (a,) float32}`` in the robot's units."""


class Outcome(StrEnum):
    """How an episode ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"
    """The operator wants it gone."""


class Frame(NamedTuple):
    """One recorded control tick: the observation before the step, and the action of that step."""

    frame_index: int
    """Position in the episode, from 0."""
    time_s: float
    """Unix time of the observation."""
    observation: Observation
    action: Float[np.ndarray, " a"]
    """What was sent, after clipping and blending."""
    policy_action: Float[np.ndarray, " a"]
    """What the policy wanted last; the action sent, until it has wanted something."""
    phase: Phase
    correction_index: int
    """Corrections so far in this episode, this one included."""
