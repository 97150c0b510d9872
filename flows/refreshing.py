"""Stages that are made anew although their result is there."""

from collections.abc import Collection, Generator
from contextlib import contextmanager

from recap_core.errors import ConfigError


@contextmanager
def refreshing(stages: Collection[str]) -> Generator[None]:
    """Inside the block, tasks of these stages execute whether or not the store has their result.

    Raises:
        ConfigError: If there are any: the task layer cannot do it yet.
    """
    if stages:
        raise ConfigError(f"refresh is {', '.join(stages)}, which is not possible yet")
    yield
