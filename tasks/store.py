"""The store that tasks and flows work in."""

from collections.abc import Collection

from recap_core.config.environment import recap_home
from recap_core.lineage.store import Store
from tasks.planning import current_plan


def open_store(*, refresh: Collection[str] = ()) -> Store:
    """The store at ``RECAP_HOME`` (default ``./recap-home``); a plan's view of it while planning.

    Args:
        refresh: Stages whose results are made anew.
    """
    plan = current_plan()
    return Store(recap_home(), refresh=refresh) if plan is None else plan.store
