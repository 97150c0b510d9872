"""The five columns of one episode."""

import numpy as np
import pytest

from recap_core.data.columns import check_recap_columns, recap_columns
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


def test_a_demonstration_is_a_human_success_throughout() -> None:
    """Whatever its phases and its mark: intervention 1, positive, rewarded at the end."""
    columns = recap_columns(PHASE, success=False, demonstration=True)

    assert columns["intervention"].tolist() == [1, 1, 1, 1]
    assert set(columns["adv_ind"]) == {"positive"}
    assert columns["reward"].tolist() == [0, 0, 0, 1]


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
