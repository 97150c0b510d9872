"""Live robots as settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from recap_core.config.live_robot import (
    LerobotConfig,
    LerobotDevice,
    LiveRobotConfig,
    ReplayConfig,
    ScriptedPolicyConfig,
    SimLiveConfig,
    SyntheticConfig,
)

ADAPTER = TypeAdapter[LiveRobotConfig](LiveRobotConfig)
PAGE = Path(__file__).parents[3] / "docs" / "robot-side.md"


def test_the_robots_of_the_page_are_robots() -> None:
    """Every YAML block of docs/robot-side.md, as it stands there."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    robots = [ADAPTER.validate_python(yaml.safe_load(block)) for block in blocks]
    kinds = [SimLiveConfig, ReplayConfig, SyntheticConfig, LerobotConfig, LerobotConfig]
    assert [type(robot) for robot in robots] == kinds
    single, pair = robots[-2:]
    assert isinstance(single, LerobotConfig)
    assert isinstance(pair, LerobotConfig)
    assert isinstance(single.device, LerobotDevice)
    assert single.device.settings["port"] == "/dev/ttyACM0"
    assert not isinstance(pair.device, LerobotDevice)
    assert list(pair.device.parts) == ["left", "right"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs either type or parts"),
        ({"type": "a", "parts": {"left": {"type": "b"}}}, "needs either type or parts"),
        ({"parts": {"left": {"type": "b"}}, "settings": {"port": "x"}}, "belong into each part"),
        ({"type": "a", "limits": {"x.pos": [1, 1]}}, "limits of 'x.pos' are 1 to 1; they must"),
        ({"type": "a", "prot": "x"}, "prot"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], message: str) -> None:
    """One robot, described one way."""
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python({"kind": "lerobot", **settings})


def test_a_robot_of_another_kind_is_refused() -> None:
    """A kind that does not exist, and a setting of another kind."""
    with pytest.raises(ValidationError, match="kind"):
        ADAPTER.validate_python({"kind": "robot"})
    with pytest.raises(ValidationError, match="path"):
        ADAPTER.validate_python({"kind": "synthetic", "path": "session"})


def test_a_policy_gives_up_within_rising_frames() -> None:
    """From the first to the last frame, and not before the first one."""
    for frames in ((9, 3), (-1, 3)):
        with pytest.raises(ValidationError, match="it must rise, from 0 on"):
            ScriptedPolicyConfig(stall_after=frames)
