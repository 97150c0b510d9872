"""Array types that more than one package uses.

Axis letters: ``b`` batch, ``t`` frames of an episode, ``n`` frames of a dataset, ``h`` action
horizon, ``a`` action dims, ``s`` state dims, ``l`` tokens.
"""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8

type Image = UInt8[np.ndarray, "height width 3"]
"""One camera frame, RGB, 0-255."""

type ActionChunk = Float[np.ndarray, "h a"]
"""The next ``h`` actions, in the robot's units."""

type ObservationArrays = Mapping[str, np.ndarray]
"""Dataset feature name (``observation.state``, ``observation.images.<camera>``) to its array."""
