"""Sessions that are being recorded: who holds them, and on which machine.

The marker of a session holds one line: process id, when that process started in the kernel's
ticks, and the name of the machine. A summary is written after every episode, so that a session
whose recorder was killed is whole but for the episode that was open.
"""

import socket
from pathlib import Path
from typing import Final, Literal

from recap_core.data.in_progress import owner_may_be_alive

SESSION_IN_PROGRESS: Final = "SESSION_IN_PROGRESS"
"""Marker of a session whose recorder has not closed it."""
IS_OPEN: Final = "is_open"
"""Entry of the summary: whether it was written before the session's end."""

type SessionState = Literal["closed", "recording", "abandoned", "elsewhere"]
"""``elsewhere``: its recorder, dead or alive, is or was another machine's."""


def session_state(session: Path) -> SessionState:
    """Whether a session is being recorded, as far as its marker says.

    Raises:
        OSError: If the marker cannot be read.
    """
    marker = session / SESSION_IN_PROGRESS
    try:
        owner = marker.read_text(errors="replace").split()
    except FileNotFoundError:
        return "closed"
    if len(owner) > 2 and owner[2] != socket.gethostname():
        return "elsewhere"
    return "recording" if owner_may_be_alive(marker) else "abandoned"
