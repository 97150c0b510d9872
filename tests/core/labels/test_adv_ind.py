"""The three labels."""

import numpy as np
import pytest

from recap_core.errors import ColumnError
from recap_core.labels.adv_ind import assign_adv_ind, decode_adv_ind, encode_adv_ind


def test_names_and_codes_round_trip() -> None:
    """Text to code and back, for the string types that columns come in."""
    names = np.array(["positive", "none", "negative"])

    np.testing.assert_array_equal(encode_adv_ind(names), [2, 0, 1])
    np.testing.assert_array_equal(encode_adv_ind(names.astype(object)), [2, 0, 1])
    np.testing.assert_array_equal(decode_adv_ind(encode_adv_ind(names)), names)


def test_an_unknown_label_is_refused() -> None:
    """The error names frame, value, rule and extent."""
    with pytest.raises(ColumnError, match=r"adv_ind\[1\] is 'good'.*\(1 of 2 frames\)"):
        encode_adv_ind(np.array(["none", "good"]))


def test_the_order_in_which_rules_beat_each_other() -> None:
    """Demonstrations keep, paused frames have none, corrections are positive, else advantage."""
    labels = assign_adv_ind(
        is_positive=np.array([True, False, False, True, True]),
        current=np.array([0, 0, 0, 0, 0], dtype=np.int8),
        is_intervention=np.array([False, False, True, False, True]),
        is_demonstration=np.array([False, False, False, False, True]),
        is_skipped=np.array([False, False, False, True, False]),
    )

    assert decode_adv_ind(labels).tolist() == ["positive", "negative", "positive", "none", "none"]
