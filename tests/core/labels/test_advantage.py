"""N-step advantages of one episode."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_core.labels.advantage import TailRule, n_step_advantage, tail_values

REWARDS = np.array([-0.25, -0.25, -0.25, 0.0])
VALUES = np.array([-0.8, -0.5, -0.2, -0.1])


def test_a_hand_computed_episode() -> None:
    """Four frames, N = 2, success: every number worked out on paper."""
    advantage = n_step_advantage(REWARDS, VALUES, lookahead=2, end_value=0.0)

    np.testing.assert_allclose(advantage, [0.1, -0.1, -0.05, 0.1])


@pytest.mark.parametrize(
    ("lookahead", "expected"),
    [
        # t = 0: t + N == T - 1, so V of the last frame ends the window.
        (3, -0.75 - 0.1 + 0.8),
        # t = 0: t + N == T, so the end value does.
        (4, -0.75 - 0.3 + 0.8),
        # Beyond the end nothing changes.
        (100, -0.75 - 0.3 + 0.8),
        (None, -0.75 - 0.3 + 0.8),
    ],
)
def test_the_last_frame_is_the_last_that_bootstraps(lookahead: int | None, expected: float) -> None:
    """Where t + N == T - 1, it is V[T-1] that ends the window; where t + N == T, the end value."""
    advantage = n_step_advantage(REWARDS, VALUES, lookahead=lookahead, end_value=-0.3)

    assert advantage[0] == pytest.approx(expected)


def test_a_takeover_ends_the_windows_before_it() -> None:
    """N = 3, correction at frame 2: windows of frames 0 and 1 end with V[2]."""
    advantage = n_step_advantage(
        REWARDS,
        VALUES,
        lookahead=3,
        end_value=0.0,
        takeovers=np.array([False, False, True, False]),
    )

    np.testing.assert_allclose(
        advantage, [-0.5 - 0.2 + 0.8, -0.25 - 0.2 + 0.5, -0.25 + 0 + 0.2, 0.1]
    )


def test_the_frame_of_a_takeover_looks_past_itself() -> None:
    """Only a correction *after* t cuts the window of t."""
    advantage = n_step_advantage(
        REWARDS, VALUES, lookahead=2, end_value=0.0, takeovers=np.array([True, False, False, False])
    )

    np.testing.assert_allclose(advantage, [0.1, -0.1, -0.05, 0.1])


def test_paused_frames_are_skipped_by_the_lookahead() -> None:
    """With frame 1 paused, one step from frame 0 leads to frame 2."""
    advantage = n_step_advantage(
        REWARDS,
        VALUES,
        lookahead=1,
        end_value=0.0,
        is_skipped=np.array([False, True, False, False]),
    )

    np.testing.assert_allclose(advantage, [-0.25 - 0.2 + 0.8, np.nan, -0.25 - 0.1 + 0.2, 0.1])


def test_the_lookahead_counts_from_one() -> None:
    """A window of no frames is a mistake."""
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        n_step_advantage(REWARDS, VALUES, lookahead=0, end_value=0.0)


def loop_definition(
    rewards: list[float],
    values: list[float],
    takeovers: list[bool],
    *,
    lookahead: int | None,
    end_value: float,
) -> list[float]:
    """The definition, one frame and one step at a time."""
    result = []
    for t, value in enumerate(values):
        total, u = 0.0, t
        while True:
            total += rewards[u]
            u += 1
            if u == len(values):
                total += end_value
                break
            if takeovers[u] or (lookahead is not None and u == t + lookahead):
                total += values[u]
                break
        result.append(total - value)
    return result


@given(
    st.lists(st.tuples(st.floats(-1, 0), st.floats(-1, 0), st.booleans()), min_size=1, max_size=40),
    st.one_of(st.none(), st.integers(1, 50)),
    st.floats(-1, 0),
)
def test_the_arithmetic_equals_the_definition(
    frames: list[tuple[float, float, bool]], lookahead: int | None, end_value: float
) -> None:
    """Any rewards, values, takeovers, lookahead: the loop gives the same."""
    rewards, values, takeovers = (list(column) for column in zip(*frames, strict=True))

    advantage = n_step_advantage(
        np.array(rewards),
        np.array(values),
        lookahead=lookahead,
        end_value=end_value,
        takeovers=np.array(takeovers),
    )

    np.testing.assert_allclose(
        advantage,
        loop_definition(rewards, values, takeovers, lookahead=lookahead, end_value=end_value),
        atol=1e-12,
    )


@pytest.mark.parametrize(
    ("rule", "lookahead", "expected"),
    [
        ("last_value", 5, [-0.3, -0.9]),
        ("zero", 5, [0, 0]),
        ("outcome", 5, [0, -1]),
        ("last_value", None, [0, 0]),
        ("outcome", None, [0, -1]),
    ],
)
def test_tail_rules(rule: TailRule, lookahead: int | None, expected: list[float]) -> None:
    """V of the last frame, zero, or the outcome; a Monte Carlo return is already complete."""
    tail = tail_values(
        np.array([-0.3, -0.9]), np.array([True, False]), rule=rule, lookahead=lookahead
    )

    np.testing.assert_array_equal(tail, expected)
