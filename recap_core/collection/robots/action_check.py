"""What every robot asks of an action."""

import numpy as np
from jaxtyping import Float

from recap_core.errors import RobotError
from recap_core.rollout.frame import Action


def checked_action(action: Action, num_dims: int) -> Float[np.ndarray, " a"]:
    """``action["action"]`` as a new float32 vector.

    Raises:
        RobotError: If it has another shape than ``(num_dims,)``, or is not finite.
    """
    target = np.array(action["action"], dtype=np.float32)
    if target.shape != (num_dims,) or not np.isfinite(target).all():
        raise RobotError(
            f"Action {target} has shape {target.shape}; it must be ({num_dims},) and finite. "
            "Check the policy's output and its norm stats."
        )
    return target
