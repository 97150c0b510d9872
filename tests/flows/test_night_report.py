"""What a person reads in the morning."""

import errno

import pytest

from flows.night_report import diagnosis, failed_report, one_line
from recap_core.errors import ConfigError, DataError, RecapError, UnhealthyValueModelError


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UnhealthyValueModelError("v"), "on_unhealthy_value_model=stage3"),
        (DataError("d"), "recap annotate"),
        (OSError(errno.ENOSPC, "No space left on device"), "recap gc"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"), "train.batch_size"),
        (ZeroDivisionError("division by zero"), "traceback"),
        (RecapError("r"), "Follow the message"),
    ],
)
def test_every_failure_has_a_next_step(error: Exception, says: str) -> None:
    """Also one that nobody has thought of."""
    assert says in diagnosis(error).what_to_do


def test_an_error_is_one_line() -> None:
    """A run's message is shown in lists."""
    assert one_line(ConfigError("a\n  b")) == "a b"
    assert one_line(ZeroDivisionError("division by zero")) == "ZeroDivisionError: division by zero"


def test_a_failed_night_says_what_failed_what_it_means_and_what_to_do() -> None:
    """And links to the pages if there are any."""
    text = failed_report(
        DataError("episode 3 breaks"), stage="merge", recordings=(), current=None, page="http://p"
    )

    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# The night failed", "## What failed", "## What it means", "## What to do",
    ]  # fmt: skip
    assert "Stage **merge**: episode 3 breaks" in text
    assert "(http://p)" in text
