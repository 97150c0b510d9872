"""The store that tasks and flows work in."""

from recap_core.config.environment import recap_home
from recap_core.lineage.store import Store


def open_store() -> Store:
    """The store at ``RECAP_HOME`` (default ``./recap-home``)."""
    return Store(recap_home())
