"""How a stage that uses an accelerator runs: in which process, how long, and how it is stopped."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import RuntimeConfig


class AcceleratorRuntime(RuntimeConfig):
    """Settings of every stage that uses an accelerator; they change no result.

    They concern stages of a flow. A command such as ``recap finetune`` is a process of its own.
    """

    isolation: Literal["inline", "process"] = "process"
    """``process``: a child process, which frees the device when it ends and can be stopped at any
    time. ``inline``: the process of the flow, which starts sooner and keeps the device."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Longest time that a child process may work, seconds; waiting for a busy device does not
    count. None: no limit."""
    cancel_grace_s: float = Field(default=60.0, ge=0)
    """Time that a child process has to write a checkpoint after it was told to stop, seconds."""
