"""Stages that are to execute anew although their results exist."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from recap_core.errors import ConfigError
from recap_core.stages.registry import STAGES


@dataclass(frozen=True)
class _Refresh:
    stages: frozenset[str]
    done: set[str] = field(default_factory=set)
    """Keys that have been made anew; a flow may ask for one several times."""


_refresh: ContextVar[_Refresh | None] = ContextVar("refresh", default=None)


@contextmanager
def refreshing(stages: Iterable[str]) -> Generator[None]:
    """Within it, tasks of these stages execute although the store has their results.

    Each key executes once. A result that differs from the stored one takes its place, and what
    depends on it is made anew too; the old one stays in the store under its id. An equal result is
    the same artifact.

    Args:
        stages: Ids of :data:`recap_core.stages.registry.STAGES`.

    Raises:
        ConfigError: If there is no such stage.
    """
    names = frozenset(stages)
    if unknown := sorted(names - set(STAGES)):
        raise ConfigError(f"no stage {unknown[0]!r} to refresh; there are {', '.join(STAGES)}")
    token = _refresh.set(_Refresh(names))
    try:
        yield
    finally:
        _refresh.reset(token)


def is_refreshed(stage: str, key: str) -> bool:
    """Whether this key of a stage is yet to be made anew."""
    now = _refresh.get()
    return now is not None and stage in now.stages and key not in now.done


def note_refreshed(key: str) -> None:
    """Say that this key has been made anew."""
    now = _refresh.get()
    if now is not None:
        now.done.add(key)
