"""Rewards and value targets by rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_core.errors import ColumnError
from recap_core.labels.targets import Episodes, frame_targets, range_targets_if, reference_labels


def episodes(lengths: list[int], success: list[bool], tasks: list[int] | None = None) -> Episodes:
    zeros = [0] * len(lengths)
    return Episodes(np.array(lengths), np.array(success), np.array(tasks or zeros), np.array(zeros))


def test_a_successful_episode_of_four_frames() -> None:
    """-(3-t)/4 with a reward of 1 at the end."""
    labels = reference_labels(4, success=True)

    np.testing.assert_array_equal(labels.reward, [0, 0, 0, 1])
    np.testing.assert_allclose(labels.reward_label, [-0.25, -0.25, -0.25, 0])
    np.testing.assert_allclose(labels.value_label, [-0.75, -0.5, -0.25, 0])


def test_a_failed_episode_of_four_frames() -> None:
    """-1 everywhere, no reward, and the same reward_label as a success."""
    labels = reference_labels(4, success=False)

    np.testing.assert_array_equal(labels.reward, [0, 0, 0, 0])
    np.testing.assert_allclose(labels.reward_label, [-0.25, -0.25, -0.25, 0])
    np.testing.assert_array_equal(labels.value_label, [-1, -1, -1, -1])


@pytest.mark.parametrize("length", [1, 2, 900])
def test_reward_labels_sum_to_the_first_value(length: int) -> None:
    """On a success, sum(reward_label) = -(T-1)/T = value_label[0], for any T."""
    labels = reference_labels(length, success=True)

    assert labels.reward_label.sum() == pytest.approx(-(length - 1) / length, abs=1e-5)
    assert labels.value_label[0] == pytest.approx(-(length - 1) / length)
    assert labels.value_label[-1] == 0
    assert not np.signbit(labels.value_label[-1])


def test_an_episode_without_frames_is_refused() -> None:
    """There is nothing to label."""
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        reference_labels(0, success=True)


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=6))
def test_the_reference_rule_equals_the_columns(shape: list[tuple[int, bool]]) -> None:
    """The vectorised rule gives the columns of every episode."""
    lengths, success = [length for length, _ in shape], [won for _, won in shape]

    rewards, targets, _ = frame_targets(
        episodes(lengths, success),
        is_skipped=np.zeros(sum(lengths), dtype=bool),
        rule="reference",
    )

    columns = [reference_labels(length, success=won) for length, won in shape]
    np.testing.assert_allclose(
        rewards, np.concatenate([column.reward_label for column in columns]), atol=1e-7
    )
    np.testing.assert_allclose(
        targets, np.concatenate([column.value_label for column in columns]), atol=1e-7
    )


def test_per_task_targets_by_hand() -> None:
    """T_max = 4, C = 4: a success of 2 frames, a failure of 4, and another task of T_max 1."""
    rewards, targets, _ = frame_targets(
        episodes([2, 4, 1], [True, False, True], [0, 0, 1]),
        is_skipped=np.zeros(7, dtype=bool),
        rule="per_task",
        fail_cost=1.0,
    )

    np.testing.assert_allclose(targets, [-1 / 8, 0, -7 / 8, -6 / 8, -5 / 8, -4 / 8, 0])
    np.testing.assert_allclose(rewards, [-1 / 8, 0, -1 / 8, -1 / 8, -1 / 8, -4 / 8, 0])


def test_the_rewards_of_an_episode_sum_to_its_target() -> None:
    """Under per_task, what is still to be earned is the target, for any outcome."""
    rewards, targets, _ = frame_targets(
        episodes([5, 3], [False, True]),
        is_skipped=np.zeros(8, dtype=bool),
        rule="per_task",
        fail_cost=0.5,
    )

    for start, end in [(0, 5), (5, 8)]:
        to_come = rewards[start:end][::-1].cumsum()[::-1]
        np.testing.assert_allclose(to_come, targets[start:end])


def test_fixed_limit_targets_by_hand() -> None:
    """Time to go over 4 frames, clipped at -1; a failure is -1; rewards end with 0."""
    rewards, targets, _ = frame_targets(
        episodes([6, 2], [True, False]),
        is_skipped=np.zeros(8, dtype=bool),
        rule="fixed_limit",
        limit_frames=4,
    )

    np.testing.assert_allclose(targets, [-1, -1, -0.75, -0.5, -0.25, 0, -1, -1])
    np.testing.assert_allclose(rewards, [-0.25] * 5 + [0] + [-0.25, 0])


def test_time_stands_still_while_paused() -> None:
    """A paused frame earns nothing, has no target, and does not count towards the length."""
    rewards, targets, _ = frame_targets(
        episodes([4], [True]),
        is_skipped=np.array([False, True, False, True]),
        rule="reference",
    )

    np.testing.assert_allclose(rewards, [-0.5, 0, 0, 0])
    np.testing.assert_allclose(targets, [-0.5, np.nan, 0, np.nan])


def test_an_episode_that_is_paused_throughout_has_no_targets() -> None:
    """It counts for nothing, also not as the longest episode of its task."""
    rewards, targets, _ = frame_targets(
        episodes([3, 2], [False, True]),
        is_skipped=np.array([True, True, True, False, False]),
        rule="per_task",
    )

    np.testing.assert_array_equal(rewards[:3], 0)
    assert np.isnan(targets[:3]).all()
    np.testing.assert_allclose(targets[3:], [-1 / 4, 0])


def test_fixed_limit_needs_a_limit() -> None:
    """Without a limit there is no scale."""
    with pytest.raises(ValueError, match="limit_frames"):
        frame_targets(episodes([1], [True]), is_skipped=np.zeros(1, dtype=bool), rule="fixed_limit")


def test_lengths_must_cover_the_frames() -> None:
    """Episodes of 2 + 2 frames do not describe 5 frames."""
    with pytest.raises(ColumnError, match="sum to 4 frames, but the dataset has 5"):
        frame_targets(
            episodes([2, 2], [True, True]), is_skipped=np.zeros(5, dtype=bool), rule="reference"
        )


def test_episode_arrays_must_have_one_entry_per_episode() -> None:
    """Two lengths and one outcome do not fit."""
    with pytest.raises(ColumnError, match="differ in length"):
        frame_targets(
            episodes([2, 2], [True]), is_skipped=np.zeros(4, dtype=bool), rule="reference"
        )


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_another_outcome_counts_over_the_range_of_the_real_ones(discount: float) -> None:
    """A success of 3 frames and a failure of 3 that costs 2: G_min = -(1 + g + 2 g^2)."""
    real = episodes([3, 3], [True, False])
    skipped = np.zeros(6, dtype=bool)
    g, lowest = discount, 1 + discount + 2 * discount**2

    found = [
        range_targets_if(
            real, np.full(2, ended), is_skipped=skipped, fail_frames=2.0, discount=discount
        )
        for ended in (True, False)
    ]

    np.testing.assert_allclose(found[0] * lowest, [-(1 + g), -1, 0] * 2)
    np.testing.assert_allclose(found[1] * lowest, [-lowest, -(1 + 2 * g), -2] * 2)
    marked = frame_targets(
        real, is_skipped=skipped, rule="return_range", fail_frames=2.0, discount=discount
    ).targets
    np.testing.assert_allclose(np.concatenate([found[0][:3], found[1][3:]]), marked)
