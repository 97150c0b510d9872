"""The five columns of one episode."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.data.columns import AUTONOMOUS, PHASES, check_recap_columns, recap_columns
from recap_core.errors import ColumnError

PHASE = np.array(["autonomous", "correcting", "paused", "autonomous"])


def test_a_rescued_success() -> None:
    """Corrected frames are interventions and positive; paused ones are neither."""
    columns = recap_columns(PHASE, success=True, demonstration=False)

    assert columns["intervention"].tolist() == [0, 1, 0, 0]
    assert columns["intervention"].dtype == np.int64
    assert columns["adv_ind"].tolist() == ["none", "positive", "none", "none"]
    assert columns["reward"].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(columns["reward_label"], [-0.25, -0.25, -0.25, 0])
    np.testing.assert_allclose(columns["value_label"], [-0.75, -0.5, -0.25, 0])
    assert columns["phase"].tolist() == PHASE.tolist()


def test_a_failure() -> None:
    """Value -1 throughout, no reward, reward labels as for a success."""
    columns = recap_columns(PHASE, success=False, demonstration=False)

    assert columns["reward"].tolist() == [0, 0, 0, 0]
    assert columns["value_label"].tolist() == [-1, -1, -1, -1]
    np.testing.assert_allclose(columns["reward_label"], [-0.25, -0.25, -0.25, 0])


def test_a_demonstration_is_a_humans_throughout() -> None:
    """Whatever its phases: intervention 1, positive; its outcome is what it is said to be."""
    columns = recap_columns(PHASE, success=True, demonstration=True)

    assert columns["intervention"].tolist() == [1, 1, 1, 1]
    assert set(columns["adv_ind"]) == {"positive"}
    assert columns["reward"].tolist() == [0, 0, 0, 1]
    failed = recap_columns(PHASE, success=False, demonstration=True)
    assert set(failed["adv_ind"]) == {"positive"}
    assert failed["reward"].tolist() == [0, 0, 0, 0]


def test_converted_columns_pass_the_check() -> None:
    """The check agrees with what conversion writes."""
    check_recap_columns(recap_columns(PHASE, success=True, demonstration=False), where="episode 0")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "intervention",
            [0, 2, 0, 0],
            r"intervention\[1\] of episode 7 is 2, but it must be 0 or 1",
        ),
        ("reward", [0, 1, 0, 1], r"reward\[1\] of episode 7 is 1, but reward is 0, and 1 at"),
        ("reward", [0, 0, 0, np.nan], r"reward\[3\].*finite"),
        ("value_label", [-1, -1.5, 0.5, 0], r"value_label\[1\].*\[-1, 0\] \(2 of 4 frames"),
        ("reward_label", [0.1, 0, 0, 0], r"reward_label\[0\].*must lie in \[-1, 0\]"),
        ("adv_ind", ["none", "none", "none", "good"], r"adv_ind\[3\] of episode 7 is good"),
        ("phase", ["flying", "paused", "paused", "paused"], r"phase\[0\].*flying"),
    ],
)
def test_a_value_outside_its_domain_is_refused(name: str, values: list, message: str) -> None:
    """The error names column, frame, episode, value, rule and extent."""
    columns = recap_columns(PHASE, success=True, demonstration=False)

    with pytest.raises(ColumnError, match=message):
        check_recap_columns(columns | {name: np.array(values)}, where="episode 7")


def test_a_missing_column_is_named() -> None:
    """All five must be there; ``phase`` may be missing."""
    columns = recap_columns(PHASE, success=True, demonstration=False)
    del columns["phase"]
    check_recap_columns(columns, where="episode 7")
    del columns["adv_ind"]

    with pytest.raises(ColumnError, match="episode 7 lacks adv_ind"):
        check_recap_columns(columns, where="episode 7")


HAND = [
    # T, success, reward, reward_label, value_label: worked out on paper from SPEC §3.1.
    (1, True, [1], [0], [0]),
    (1, False, [0], [0], [-1]),
    (2, True, [0, 1], [-1 / 2, 0], [-1 / 2, 0]),
    (2, False, [0, 0], [-1 / 2, 0], [-1, -1]),
]


@pytest.mark.parametrize(("length", "success", "reward", "reward_label", "value_label"), HAND)
def test_the_shortest_episodes(
    length: int, *, success: bool, reward: list, reward_label: list, value_label: list
) -> None:
    """One and two frames, success and failure, as on paper."""
    columns = recap_columns(np.full(length, AUTONOMOUS), success=success, demonstration=False)

    assert columns["reward"].tolist() == reward
    np.testing.assert_allclose(columns["reward_label"], reward_label)
    np.testing.assert_allclose(columns["value_label"], value_label)


def test_a_long_episode() -> None:
    """900 frames: -1/900 each, 0 at the end; the value climbs from -899/900 by 1/900 a frame."""
    columns = recap_columns(np.full(900, AUTONOMOUS), success=True, demonstration=False)

    np.testing.assert_allclose(columns["reward_label"][[0, 450, 898, 899]], [-1 / 900] * 3 + [0])
    np.testing.assert_allclose(
        columns["value_label"][[0, 1, 450, 899]], [-899 / 900, -898 / 900, -449 / 900, 0]
    )


@given(
    length=st.integers(1, 3000),
    success=st.booleans(),
    demonstration=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=30)
def test_what_holds_for_every_episode(
    *, length: int, success: bool, demonstration: bool, seed: int
) -> None:
    """Sums, ends, steps, ranges and types of SPEC §3.1, whatever the phases."""
    phase = np.random.default_rng(seed).choice(np.array(PHASES), length)

    columns = recap_columns(phase, success=success, demonstration=demonstration)

    check_recap_columns(columns, where="episode 0")
    assert columns["reward"].sum() == success
    total = columns["reward_label"].sum(dtype=np.float64)
    assert total == pytest.approx(-(length - 1) / length, abs=1e-5)
    if success:
        assert columns["value_label"][0] == pytest.approx(total, abs=1e-5)
        np.testing.assert_allclose(np.diff(columns["value_label"]), 1 / length, atol=1e-6)
        assert columns["value_label"][-1] == 0
    else:
        assert set(columns["value_label"]) == {-1}
    is_human = np.full(length, fill_value=True) if demonstration else phase == "correcting"
    np.testing.assert_array_equal(columns["intervention"], is_human)
    np.testing.assert_array_equal(columns["adv_ind"] == "positive", is_human)
    np.testing.assert_array_equal(columns["adv_ind"] == "none", ~is_human)
    assert [columns[name].dtype.name for name in ("intervention", "reward")] == ["int64", "float32"]
