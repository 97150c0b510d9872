"""The report of a round as a task."""
