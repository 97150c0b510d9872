"""What a report shows of a value model: plain data, computed elsewhere.

Here too all text is taken as untrusted, and nothing is derived but positions, counts and words.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from recap_core.reports.content import (
    AuditRow,
    Fact,
    HealthSummary,
    Note,
    Role,
    TaskRow,
    Thumbnail,
    TrainingCurve,
)
from recap_core.valuation.calibration import Calibration


@dataclass(frozen=True, kw_only=True, eq=False)
class ValuePanel:
    """One episode as the value model sees it."""

    title: str
    """Why it is shown, such as ``Best episode``."""
    episode_index: int
    fps: int
    outcome: Literal["success", "failure"]
    role: Role
    error: float
    """Mean distance of V from its target."""
    values: Float[np.ndarray, " t"]
    """V(o_t) in [-1, 0]; NaN where there is none."""
    targets: Float[np.ndarray, " t"]
    """NaN where there is none."""
    is_intervention: Bool[np.ndarray, " t"]
    distribution: Float[np.ndarray, "t bins"] | None = None
    """Predicted probabilities, bins from -1 to 0."""
    key_frames: tuple[Thumbnail, ...] = ()
    """In frame order; five fit."""

    @property
    def num_frames(self) -> int:
        """Length of the episode."""
        return len(self.values)


@dataclass(frozen=True, kw_only=True)
class ValueReport:
    """Everything on the page of ``recap value evaluate``."""

    title: str
    subtitle: str
    created: str
    confidence: float = 0.95
    facts: tuple[Fact, ...] = ()
    notes: tuple[Note, ...] = ()
    health: HealthSummary
    calibration: Calibration | None = None
    fps: int
    tasks: tuple[TaskRow, ...] = ()
    audit: tuple[AuditRow, ...] = ()
    num_audited: int = 0
    panels: tuple[ValuePanel, ...] = ()
    training_curves: tuple[TrainingCurve, ...] = ()
