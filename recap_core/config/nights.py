"""How a night may end, by the name that its run has in the Prefect UI."""

from typing import Final

NOTHING_NEW: Final = "Nothing new"
"""No finished recording since the last round, or fewer episodes than a night is worth."""
SKIPPED: Final = "Skipped"
"""Another night has started since this one was due: it has caught up for it."""
NIGHT_STATES: Final = (NOTHING_NEW, SKIPPED)
"""Names of completed states that are none of Prefect's own."""
