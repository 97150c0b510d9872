"""Numbers in words."""

import pytest

from recap_core.reports import numbers

NARROW = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (0.01, "< 0.1 s"),
        (0.42, "0.4 s"),
        (9.96, "10 s"),
        (41.4, "41 s"),
        (59.7, "1 min 00 s"),
        (205, "3 min 25 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_read_like_speech(seconds: float, text: str) -> None:
    """The unit grows with the value."""
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0213, "+0.021"),
        (-0.5, f"{MINUS}0.500"),
        (0.0, "0.000"),
        (-0.0001, "0.000"),
        (float("nan"), "\N{EN DASH}"),
    ],
)
def test_signs_are_shown_and_zero_has_none(value: float, text: str) -> None:
    """A rounded zero is neither plus nor minus."""
    assert numbers.signed(value) == text


def test_rates_and_differences() -> None:
    """A narrow space stands before the sign; differences are in points."""
    assert numbers.percent(2 / 3) == f"66.7{NARROW}%"
    assert numbers.percent_range(0.588, 0.737) == f"58.8 to 73.7{NARROW}%"
    assert numbers.points(-0.06) == f"{MINUS}6.0"
    assert numbers.count(3091) == "3,091"


def test_tick_labels_are_short() -> None:
    """Thousands are k; no trailing zeros."""
    assert [numbers.compact(v) for v in (0.25, 1500, -2000)] == ["0.25", "1.5k", f"{MINUS}2k"]
    assert [numbers.signed_compact(v) for v in (25, 0, -25)] == ["+25", "0", f"{MINUS}25"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (999, "999 B"), (4200, "4.2 kB"), (118_400_000, "118 MB"),
        (999_600_000, "1.0 GB"), (3_400_000_000_000, "3.4 TB"), (5 * 10**15, "5000 TB"),
    ],
)  # fmt: skip
def test_sizes_have_the_unit_that_fits(size: int, text: str) -> None:
    """Powers of a thousand, as disks are sold."""
    assert numbers.bytes_text(size) == text


@pytest.mark.parametrize(("value", "text"), [(3421.4, "3,421"), (87.2, "87"), (0.6234, "0.62")])
def test_speeds_have_the_digits_that_tell(value: float, text: str) -> None:
    """Fast in whole numbers, slow in two digits."""
    assert numbers.rate(value) == text
