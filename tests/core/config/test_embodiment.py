"""A robot's settings: what cannot be is said in words that help."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from recap_core.config.embodiment import EmbodimentConfig

ARM = {
    "state_dim": 7,
    "action_dim": 7,
    "views": {"base_0_rgb": "observation.images.front"},
    "delta_mask": [6, -1],
}


def test_a_robot_is_a_few_lines() -> None:
    """One arm with one camera; the rest has defaults, and clients may use openpi's names."""
    robot = EmbodimentConfig.model_validate(ARM)

    assert (robot.state, robot.action) == (("observation.state",), "action")
    assert robot.wire.cameras["cam_high"] == "base_0_rgb"
    assert not robot.adapt_to_pi


def test_new_settings_left_alone_are_no_settings() -> None:
    """Stage keys from before they existed stay valid."""
    assert EmbodimentConfig(delta_mask=(6, -1)).semantic() == {"delta_mask": [6, -1]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "observation.state"}, r"list is needed, for instance \[observation.state\]"),
        ({"delta_mask": "6,-1"}, r"list is needed, for instance \[6, -1, 6, -1\]"),
        ({"delta_mask": 6}, "list is needed"),
        ({"delta_mask": [6, 0, -1]}, "run of 0 dims; write n for n relative dims"),
        ({"delta_mask": [6, -2]}, "covers 8 dims, but state_dim is 7"),
        ({"delta_mask": [6], "action_dim": 5}, "covers 6 dims, but action_dim is 5"),
        ({"state": []}, "at least 1 item"),
        ({"state": ["a", "a"]}, "names a feature twice: a, a"),
        ({"state": [""]}, "at least 1 character"),
        ({"state": ["observation.environment_state"]}, "delta_mask needs observation.state"),
        (
            {"views": {"base_0_rgb": "front", "left_wrist_0_rgb": "front"}},
            "camera 'front' is both base_0_rgb and left_wrist_0_rgb",
        ),
        ({"views": {"front": "front"}}, "'base_0_rgb', 'left_wrist_0_rgb' or 'right_wrist_0_rgb'"),
        ({"adapt_to_pi": True}, "state_dim is 7 and action_dim is 7; set adapt_to_pi to false"),
        ({"asset_id": "../other"}, "names no directory inside a checkpoint's assets/"),
        ({"asset_id": "/etc"}, "names no directory"),
        (
            {"wire": {"cameras": {"eye": "base_0_rgb"}, "ignored_cameras": ["eye"]}},
            r"cameras \['eye'\] are both shown and ignored",
        ),
        ({"wire": {"cameras": {"eye": "base"}}}, "'base_0_rgb', 'left_wrist_0_rgb'"),
        ({"normalization": "zscore"}, "'quantile' or 'z_score'"),
        ({"state_dims": 7}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_said_in_words(changes: dict[str, Any], message: str) -> None:
    """The value, the rule and what to write instead."""
    with pytest.raises(ValidationError, match=message):
        EmbodimentConfig.model_validate(ARM | changes)


def test_the_worked_example_of_the_docs_is_a_robot() -> None:
    """The YAML in docs/robots.md, as it stands there."""
    page = (Path(__file__).parents[3] / "docs" / "robots.md").read_text(encoding="utf-8")
    block = page.split("```yaml\n")[1].split("```")[0]

    robot = EmbodimentConfig.model_validate(yaml.safe_load(block))

    assert robot.views == {"base_0_rgb": "observation.images.front"}
    assert robot.wire.cameras == {"webcam": "base_0_rgb"}
