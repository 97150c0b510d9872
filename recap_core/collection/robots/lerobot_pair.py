"""Several of lerobot's devices side by side, as one."""

from collections.abc import Mapping
from typing import Any

from recap_core.collection.robots.lerobot_release import release


class LerobotDevices:
    """Robots or teleoperators that act as one; the keys of each begin with its name and ``_``.

    It answers what the adapter asks of lerobot's ``Robot`` and ``Teleoperator``.

    Args:
        parts: The devices by name, in the order of their keys.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = dict(parts)

    @property
    def observation_features(self) -> dict[str, Any]:
        """Of all parts."""
        return self._prefixed({name: part.observation_features for name, part in self._items()})

    @property
    def action_features(self) -> dict[str, Any]:
        """Of all parts."""
        return self._prefixed({name: part.action_features for name, part in self._items()})

    @property
    def feedback_features(self) -> dict[str, Any]:
        """Of all parts."""
        return self._prefixed({name: part.feedback_features for name, part in self._items()})

    @property
    def is_connected(self) -> bool:
        """Whether all parts are."""
        return all(part.is_connected for part in self.parts.values())

    @property
    def is_calibrated(self) -> bool:
        """Whether all parts are."""
        return all(part.is_calibrated for part in self.parts.values())

    def connect(self, *, calibrate: bool = True) -> None:
        """Connect one after another; if one fails, all are let go again."""
        try:
            for part in self.parts.values():
                part.connect(calibrate=calibrate)
        except BaseException:
            self.disconnect()
            raise

    def get_observation(self) -> dict[str, Any]:
        """What all parts see."""
        return self._prefixed({name: part.get_observation() for name, part in self._items()})

    def get_action(self) -> dict[str, Any]:
        """What all parts want."""
        return self._prefixed({name: part.get_action() for name, part in self._items()})

    def send_action(self, action: Mapping[str, Any]) -> dict[str, Any]:
        """Send every part its own; returns what was sent."""
        sent = {name: part.send_action(_of(action, name)) for name, part in self._items()}
        return self._prefixed(sent)

    def send_feedback(self, feedback: Mapping[str, Any]) -> None:
        """Send every part its own."""
        for name, part in self._items():
            part.send_feedback(_of(feedback, name))

    def disconnect(self) -> None:
        """Let go of all, even if one refuses, which is logged."""
        for part in self.parts.values():
            release(part)

    def _items(self) -> list[tuple[str, Any]]:
        return list(self.parts.items())

    @staticmethod
    def _prefixed(by_part: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {
            f"{name}_{key}": value for name, own in by_part.items() for key, value in own.items()
        }


def _of(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    start = f"{name}_"
    return {
        key.removeprefix(start): value for key, value in values.items() if key.startswith(start)
    }
