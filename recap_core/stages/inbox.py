"""Sessions that are there to be ingested, for whoever may not look into the data themselves."""

from recap_core.data.inbox import FoundSession, find_sessions

__all__ = ["FoundSession", "find_sessions"]
