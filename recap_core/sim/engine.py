"""MuJoCo, set up for rendering without a display."""

import os
import sys
from typing import Any

if sys.platform == "linux":
    # MuJoCo picks its GL backend when it is imported; Mesa picks its threads with the first
    # context. Both keep what the user has set.
    os.environ.setdefault("MUJOCO_GL", "egl")
    os.environ.setdefault("LP_NUM_THREADS", "1")

import mujoco as _mujoco

mujoco: Any = _mujoco
"""The library; its compiled parts ship no type stubs."""

type MjData = Any
"""``mujoco.MjData``: the state of one simulated world."""
