"""Session and episode lifecycle, and the raw-episode recorder."""

from typing import Any

LEROBOT_DEVICES = ("SimAloha", "SimAlohaExpert")


def __getattr__(name: str) -> Any:  # noqa: ANN401 (a module attribute)
    """Answer lerobot's factory, which looks for a device in the package of its config."""
    if name not in LEROBOT_DEVICES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recap_core.collection import lerobot_robot

    return getattr(lerobot_robot, name)
