"""A second attempt is for what the operating system refused, not for what is wrong."""

import pytest
from prefect import task

from recap_core.errors import ConfigError
from tasks.retries import is_transient

pytestmark = pytest.mark.usefixtures("prefect_api")


@task(retries=1, retry_condition_fn=is_transient)
def fail_at_first(attempts: list[int], error: Exception) -> int:
    """Fail in the first attempt."""
    attempts.append(1)
    if len(attempts) == 1:
        raise error
    return len(attempts)


def test_a_full_disk_may_be_free_again() -> None:
    """The second attempt succeeds."""
    assert fail_at_first([], OSError(28, "No space left on device")) == 2


@pytest.mark.parametrize("error", [ConfigError("wrong"), ValueError("a bug")])
def test_what_is_wrong_stays_wrong(error: Exception) -> None:
    """There is one attempt, and its own error comes out."""
    attempts: list[int] = []

    with pytest.raises(type(error)):
        fail_at_first(attempts, error)

    assert len(attempts) == 1
