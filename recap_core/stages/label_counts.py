"""How many frames of every task have which label."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from recap_core.data.frames import FrameTable
from recap_core.labels.adv_ind import NEGATIVE, POSITIVE
from recap_core.reports.content import LabelShare


def label_shares(
    table: FrameTable, codes: Int[np.ndarray, " n"], thresholds: Mapping[str, float | None]
) -> tuple[LabelShare, ...]:
    """Frames by task, label and who drove.

    Args:
        table: The dataset.
        codes: Label of every frame.
        thresholds: Smallest positive advantage by task; a task may be missing.
    """
    is_corrected = table.is_intervention & ~table.is_demonstration
    is_autonomous = ~table.is_intervention

    def count(mask: np.ndarray) -> int:
        return int(mask.sum())

    shares = []
    for index, task in enumerate(table.tasks):
        mine = table.task_index == index
        positive = count(mine & is_autonomous & (codes == POSITIVE))
        negative = count(mine & is_autonomous & (codes == NEGATIVE))
        shares.append(
            LabelShare(
                task=task,
                positive=positive,
                negative=negative,
                none=count(mine & is_autonomous) - positive - negative,
                intervention=count(mine & is_corrected),
                demonstration=count(mine & table.is_demonstration),
                threshold=thresholds.get(task),
                autonomous_positive_share=positive / max(positive + negative, 1),
            )
        )
    return tuple(shares)
