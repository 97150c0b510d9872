"""What stays the same during a session, for whoever shows it."""

from typing import NamedTuple


class Facts(NamedTuple):
    """What a status does not say, because it never changes."""

    robot: str
    rate_hz: float | None
    """Nominal rate of the control loop; None: not known."""
    is_evaluation: bool = False
    """Corrections are refused."""
    target_rate: float | None = None
    """Success rate that an evaluated policy shall reach."""
    has_leader: bool = True
    """Whether the operator has something to drive with."""
