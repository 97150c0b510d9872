"""Which marks V contradicts, on values made up episode by episode."""

from pathlib import Path

import numpy as np
import pytest

from recap_core.config.labels import TargetConfig
from recap_core.data.frames import read_frames
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.stages.value_audit import audit_table
from recap_core.training.value_batches import value_targets
from recap_core.valuation.audit import audit_outcomes, contradicted

RULES = (
    TargetConfig(),
    TargetConfig(rule="per_task"),
    TargetConfig(rule="fixed_limit", limit_frames=30),
    TargetConfig(rule="return_range", fail_frames=10),
    TargetConfig(rule="return_range", fail_frames=300, discount=0.98),
)

T = 8
TO_GO = np.arange(T - 1, -1, -1)
IF_SUCCESS, IF_FAILURE = -TO_GO / 20, np.full(T, -1.0)
"""Over the last two frames: -0.025 and -1."""


def _audit(values: np.ndarray, success: list[bool], **changes: object):  # noqa: ANN202
    count = len(success)
    arguments = {
        "if_success": np.tile(IF_SUCCESS, count),
        "if_failure": np.tile(IF_FAILURE, count),
        "episode_ends": np.arange(1, count + 1) * T,
        "success": np.array(success),
    } | changes
    return audit_outcomes(values, **arguments)  # pyright: ignore[reportArgumentType]


def test_scores_by_hand() -> None:
    """V of the last quarter between what a failure and a success would have there."""
    halfway = np.full(T, -0.5125)
    values = np.concatenate([IF_SUCCESS, IF_SUCCESS, IF_FAILURE, halfway])

    found = _audit(values, [True, False, True, False])

    assert [(row.episode, row.opposite) for row in found[:2]] == [(1, "success"), (2, "failure")]
    assert [row.score for row in found] == pytest.approx([1, 1, 0.5, 0])
    assert found[0].late_value == found[0].other_target == pytest.approx(-0.025)
    assert found[0].late_target == -1
    assert [row.episode for row in contradicted(found)] == [1, 2, 3]


def test_only_the_end_counts() -> None:
    """A failure that looked good before it was lost is no contradiction."""
    values = np.where(TO_GO < 2, -1.0, -0.1)

    (row,) = _audit(values, [False])

    assert row.score == 0


def test_scores_stay_within_bounds() -> None:
    """V beyond either target counts as that target."""
    values = np.concatenate([np.zeros(T), np.zeros(T)])

    found = _audit(values, [True, False])

    assert [(row.episode, row.score) for row in found] == [(1, 1.0), (0, 0.0)]


def test_skipped_frames_are_no_end() -> None:
    """The last frames were paused and have no target: the ones before them are the end."""
    paused = np.where(TO_GO < 4, np.nan, IF_SUCCESS)
    values = np.where(TO_GO < 4, -1.0, -0.3)

    (row,) = _audit(values, [True], if_success=paused)

    assert row.late_value == pytest.approx(-0.3)


def test_what_cannot_be_audited_is_left_out() -> None:
    """No frame counts, or both outcomes would look the same."""
    values = np.zeros(2 * T)
    nothing = np.concatenate([np.full(T, np.nan), IF_FAILURE])

    assert _audit(values, [True, True], if_success=nothing) == ()


def test_values_that_are_exact_contradict_nothing(tmp_path: Path) -> None:
    """Under every rule: what V counts does not change with the outcome that is imagined."""
    robot = SyntheticRobot(num_joints=1, cameras=())
    episodes = [SyntheticEpisode(length=n, success=n != 9) for n in (8, 9, 20)]
    write_synthetic_dataset(tmp_path / "d", episodes, robot)
    table = read_frames(tmp_path / "d")

    for rule in RULES:
        targets = value_targets(table, rule).targets
        found = audit_table(table, targets, rule)
        assert [row.score for row in found] == [0, 0, 0], rule
        assert all(row.late_value == pytest.approx(row.late_target) for row in found), rule


def test_some_episodes_only() -> None:
    """Values of the others are not read: they may be missing."""
    values = np.concatenate([np.full(T, np.nan), IF_SUCCESS])

    (row,) = _audit(values, [True, True], episodes=[1])

    assert (row.episode, row.score) == (1, 0)
