"""What a converted dataset holds, and what is unusual about it (SPEC §3.5)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from recap_core.config.validation import ValidateConfig
from recap_core.data.columns import INTERVENTION, REWARD, STATE
from recap_core.data.frames import read_frames

BANDS = ValidateConfig()
"""Shares of frames and episodes that rollouts usually have."""
FOUR_ARM_DIMS = 28
"""State dimensions of two followers and two leaders."""


class Overview(NamedTuple):
    """Counts and shares of a dataset."""

    num_episodes: int
    num_frames: int
    num_successes: int
    num_intervention_frames: int
    num_paused_frames: int
    num_demonstrations: int
    """Episodes that a human drove throughout."""
    state_dims: int
    cameras: tuple[str, ...]

    @property
    def success_share(self) -> float:
        """Of the episodes."""
        return self.num_successes / self.num_episodes

    @property
    def intervention_share(self) -> float:
        """Of the frames."""
        return self.num_intervention_frames / self.num_frames


def read_overview(root: Path) -> Overview:
    """Count what a v3.0 dataset holds; no image is decoded.

    Raises:
        DataError: If there is no complete dataset.
        ColumnError: If it lacks a RECAP column.
    """
    table = read_frames(root, [REWARD, INTERVENTION])
    is_human = np.add.reduceat(table.is_intervention.astype(np.int64), table.episode_starts)
    return Overview(
        num_episodes=len(table.episode_lengths),
        num_frames=table.num_frames,
        num_successes=int(table.success.sum()),
        num_intervention_frames=int(table.is_intervention.sum()),
        num_paused_frames=int(table.is_paused.sum()),
        num_demonstrations=int((is_human == table.episode_lengths).sum()),
        state_dims=int(table.meta.features[STATE]["shape"][0]),
        cameras=table.meta.cameras,
    )


def sanity_warnings(overview: Overview) -> list[str]:
    """What is outside the usual bands, with its meaning; demonstrations have no bands."""
    warnings = []
    if overview.state_dims == FOUR_ARM_DIMS:
        warnings.append(
            f"the state has {FOUR_ARM_DIMS} dimensions: leader arms are in it. Choose the "
            "followers with include_arms, unless the policy is to see the leaders."
        )
    if overview.num_demonstrations < overview.num_episodes:
        warnings += [_intervention_warning(overview), _success_warning(overview)]
    return [warning for warning in warnings if warning]


def _intervention_warning(overview: Overview) -> str:
    share, (low, high) = overview.intervention_share, BANDS.intervention_rate
    if share == 0:
        return (
            "no frame was corrected: adv_ind is none throughout. Either nobody stepped in, or "
            "these are demonstrations and were converted as rollouts."
        )
    if share < low:
        return (
            f"{share:.1%} of the frames were corrected, below {low:.0%}: there is little left to "
            "learn from corrections of this policy."
        )
    if share > high:
        return (
            f"{share:.1%} of the frames were corrected, above {high:.0%}: this is a human's "
            "driving more than the policy's. Take over later, or start from a better policy."
        )
    return ""


def _success_warning(overview: Overview) -> str:
    share, (low, high) = overview.success_share, BANDS.success_rate
    if share == 0:
        return (
            "no episode succeeded: value_label is -1 throughout, and a value model learns nothing "
            "from it. Check the SUCCESS marks, or record easier starts."
        )
    if share == 1:
        return (
            "no episode failed: a value model sees no failure. Keep failed episodes, and convert "
            "without success_only."
        )
    if share < low:
        return f"{share:.0%} of the episodes succeeded, below {low:.0%}: failures dominate."
    if share > high:
        return f"{share:.0%} of the episodes succeeded, above {high:.0%}: failures are few."
    return ""
