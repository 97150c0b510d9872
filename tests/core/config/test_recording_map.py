"""The column map of a robot."""

import pytest
from pydantic import ValidationError

from recap_core.config.dataset import ConvertConfig
from recap_core.config.recording_map import ArrayPart, RecordingMap, parts_of_arms


def test_parts_per_arm_come_arm_by_arm_and_before_the_others() -> None:
    """Left joints, left gripper, right joints, right gripper, then the lift."""
    lift = ArrayPart(file="lift.npy", names=("height",))
    reference = RecordingMap()

    parts = parts_of_arms((lift, *reference.state), ("left", "right"))

    assert [(part.file, part.array) for part in parts] == [
        ("left_states.npz", "joint_pos"),
        ("left_states.npz", "gripper_pos"),
        ("right_states.npz", "joint_pos"),
        ("right_states.npz", "gripper_pos"),
        ("lift.npy", None),
    ]
    assert parts[2].dimension_names(2) == ("right_joint_0", "right_joint_1")


def test_dimensions_without_names_are_called_after_file_and_array() -> None:
    """Every dimension has a name of its own."""
    assert ArrayPart(file="arm.npz", array="pos").dimension_names(2) == ("arm_pos_0", "arm_pos_1")
    assert ArrayPart(file="lift.npy").dimension_names(1) == ("lift_0",)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"file": "../other/states.npy"}, "inside the episode directory"),
        ({"file": "/etc/states.npy"}, "inside the episode directory"),
        ({"file": "..\\states.npy"}, "inside the episode directory"),
        ({"file": "states.csv"}, "neither .npy nor .npz"),
        ({"file": "states.npz"}, "'array' is for .npz files, and they need it"),
        ({"file": "states.npy", "array": "pos"}, "'array' is for .npz files"),
        ({"file": "states.npy", "dims": [-1]}, "greater than or equal to 0"),
        ({"file": "states.npy", "dims": []}, "at least 1 item"),
        ({"file": "states.npy", "colour": 1}, "Extra inputs"),
    ],
)
def test_a_part_that_cannot_be_is_refused(part: dict, message: str) -> None:
    """Before any file is opened."""
    with pytest.raises(ValidationError, match=message):
        RecordingMap.model_validate({"state": [part]})


@pytest.mark.parametrize("cameras", [{"front": "../front.mp4"}, {"../front": "front.mp4"}])
def test_cameras_stay_inside_the_episode_and_the_dataset(cameras: dict[str, str]) -> None:
    """Neither a video nor a camera's name leads elsewhere."""
    with pytest.raises(ValidationError, match=r"inside the episode|should match pattern"):
        RecordingMap(cameras=cameras)


def test_arms_can_be_chosen_only_where_there_are_some() -> None:
    """A single arm has no ``{arm}``; no arm comes twice."""
    single = RecordingMap(
        state=(ArrayPart(file="s.npy"),), action=(ArrayPart(file="a.npy"),), cameras={}
    )
    with pytest.raises(ValidationError, match=r"needs a robot map whose files hold \{arm\}"):
        ConvertConfig(robot=single, include_arms=("left",))
    with pytest.raises(ValidationError, match="names an arm twice: left, left"):
        ConvertConfig(include_arms=("left", "left"))


def test_the_reference_layout_is_no_setting() -> None:
    """Left out of stage keys; another robot's map is in them."""
    assert ConvertConfig(robot=RecordingMap()).semantic() == {}
    assert ConvertConfig(robot=RecordingMap(robot_type="so101")).semantic() == {
        "robot": {"robot_type": "so101"}
    }
