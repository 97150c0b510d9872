"""Messages of openpi's, LIBERO's and limb's clients."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_core.config.embodiment import EmbodimentConfig, WireConfig
from recap_core.config.embodiments import (
    DROID_EMBODIMENT,
    LIBERO_EMBODIMENT,
    LIBERO_V3_EMBODIMENT,
    SIM_EMBODIMENT,
    YAM_EMBODIMENT,
)
from recap_core.config.policy import PolicyConfig
from recap_core.config.sizes import PI05, TINY_POLICY
from recap_core.errors import DataError
from recap_core.transforms.wire import WireReader

STATE = "observation.state"
HEAD, LEFT, RIGHT = YAM_EMBODIMENT.views.values()


def reader(embodiment: EmbodimentConfig = YAM_EMBODIMENT) -> WireReader:
    """Of a policy with three views."""
    return WireReader(PolicyConfig(model=PI05, embodiment=embodiment))


def picture(value: int = 7) -> np.ndarray:
    """A camera frame, channels first."""
    return np.full((3, 12, 16), value, np.uint8)


def aloha(**changes: object) -> dict[str, Any]:
    """What openpi's Aloha client sends."""
    cameras = {"cam_high": 1, "cam_low": 4, "cam_left_wrist": 2, "cam_right_wrist": 3}
    images = {camera: picture(value) for camera, value in cameras.items()}
    return {"state": np.arange(14.0), "images": images, "prompt": "fold"} | changes


def values(observation: dict[str, Any]) -> dict[str, int]:
    """The one grey value of every image."""
    return {
        feature: int(image.flat[0])
        for feature, image in observation.items()
        if isinstance(image, np.ndarray) and image.ndim == 3
    }


def test_the_aloha_layout() -> None:
    """Cameras by openpi's names become those of the dataset; the low camera is not looked at."""
    observation = reader().observation(aloha(adv_ind="negative"))

    assert values(observation) == {HEAD: 1, LEFT: 2, RIGHT: 3}
    np.testing.assert_array_equal(observation[STATE], np.arange(14.0))
    assert observation[STATE].dtype == np.float64
    assert (observation["prompt"], observation["adv_ind"]) == ("fold", "negative")
    assert set(observation) == {HEAD, LEFT, RIGHT, STATE, "prompt", "adv_ind"}


def test_the_libero_layout() -> None:
    """Flat keys; channels last; the right wrist does not exist."""
    message = {
        "observation/image": np.full((20, 20, 3), 1, np.uint8),
        "observation/wrist_image": np.full((20, 20, 3), 2, np.uint8),
        "observation/state": np.zeros(8),
        "prompt": "pick up the bowl",
    }

    observation = reader(LIBERO_EMBODIMENT).observation(message)

    assert values(observation) == {"image": 1, "wrist_image": 2}
    assert observation["state"].shape == (8,)
    images = reader(LIBERO_V3_EMBODIMENT).observation(message)
    assert values(images) == {"observation.images.image": 1, "observation.images.image2": 2}


def test_the_limb_layout_brings_neither_prompt_nor_class() -> None:
    """Flat ``<camera>-images-rgb`` keys; the server fills in the rest."""
    message = {
        "state": np.zeros(14, np.float32),
        "head_camera-images-rgb": picture(1),
        "left_wrist_camera-images-rgb": picture(2),
        "right_wrist_camera-images-rgb": picture(3),
    }

    observation = reader().observation(message)

    assert values(observation) == {HEAD: 1, LEFT: 2, RIGHT: 3}
    assert set(observation) == {HEAD, LEFT, RIGHT, STATE}


def test_the_datasets_own_names() -> None:
    """What our own client sends."""
    message = {HEAD: picture(1), RIGHT: picture(3), STATE: np.zeros(14)}

    assert values(reader().observation(message)) == {HEAD: 1, RIGHT: 3}


def test_a_state_of_several_features_comes_by_their_names() -> None:
    """DROID's joints and its gripper, which is a vector of one or a plain number."""
    message = {
        "observation/exterior_image_1_left": picture(1),
        "observation/exterior_image_2_left": picture(9),
        "observation/wrist_image_left": picture(2),
        "observation/joint_position": np.arange(7.0),
        "observation/gripper_position": np.array([0.5]),
    }

    observation = reader(DROID_EMBODIMENT).observation(message)
    scalar = reader(DROID_EMBODIMENT).observation(
        message | {"observation/gripper_position": np.float64(0.5)}
    )

    assert values(observation) == {"exterior_image_1_left": 1, "wrist_image_left": 2}
    np.testing.assert_array_equal(observation["joint_position"], np.arange(7.0))
    np.testing.assert_array_equal(observation["gripper_position"], [0.5])
    np.testing.assert_array_equal(scalar["gripper_position"], [0.5])
    del message["observation/gripper_position"]
    with pytest.raises(DataError, match="no state: send it as 'gripper_position'"):
        reader(DROID_EMBODIMENT).observation(message)


def test_a_policy_without_cameras_ignores_them() -> None:
    """The demo sees its state alone, whatever is sent besides."""
    demo = WireReader(PolicyConfig(model=TINY_POLICY, embodiment=SIM_EMBODIMENT))

    observation = demo.observation(
        aloha(state=np.zeros(14), **{"observation.environment_state": np.zeros(7)})
    )

    assert set(observation) == {STATE, "observation.environment_state", "prompt"}


def test_own_names_are_data() -> None:
    """Wire names replace openpi's; those of the dataset stay understood."""
    wire = WireConfig(cameras={"eye": "base_0_rgb"}, ignored_cameras=(), state=("joints",))
    robot = YAM_EMBODIMENT.model_copy(update={"wire": wire, "state_dim": None})

    observation = reader(robot).observation({"joints": [0.5, 1], "images": {"eye": picture(5)}})

    assert values(observation) == {HEAD: 5}
    np.testing.assert_array_equal(observation[STATE], [0.5, 1])
    with pytest.raises(DataError, match="'images/cam_high' is unknown"):
        reader(robot).observation(aloha())


def test_absent_wrists_are_left_out() -> None:
    """The transform shows them black and masked."""
    message = aloha(images={"cam_high": picture(1)})

    assert values(reader().observation(message)) == {HEAD: 1}


def test_keys_that_nothing_reads_are_ignored() -> None:
    """Seeds, times, further cameras outside ``images`` where every view is there."""
    message = aloha(
        episode_seed=3,
        frame_index=1,
        timestamp=1.5,
        **{"rear_camera-images-rgb": picture(), "tactile": np.zeros((3, 4, 4))},
    )

    assert values(reader().observation(message)) == {HEAD: 1, LEFT: 2, RIGHT: 3}


def test_none_counts_as_not_sent() -> None:
    """Clients that write absent fields as nil get the default prompt and condition."""
    assert set(reader().observation(aloha(adv_ind=None, prompt=None))) == {HEAD, LEFT, RIGHT, STATE}


def test_text_may_come_as_an_array() -> None:
    """So come openpi's own defaults: 0-d arrays."""
    assert reader().observation(aloha(prompt=np.array("fold")))["prompt"] == "fold"


def without(key: str) -> dict[str, Any]:
    message = aloha()
    del message[key]
    return message


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (aloha(images={"camhigh": picture()}), r"'images/camhigh' is unknown; did you mean"),
        (aloha(images={"top": picture()}), r"unknown\. Known cameras: cam_high \(base_0_rgb\)"),
        (aloha(images=aloha()["images"] | {"top": picture()}), "'images/top' is unknown"),
        (
            {STATE: np.zeros(14), HEAD: picture(), "observation.images.left_cam": picture()},
            "left_cam' is unknown",
        ),
        (aloha(images={"cam_left_wrist": picture()}), "no camera for base_0_rgb.*cam_high"),
        (without("images"), "no camera for base_0_rgb"),
        (without("state"), r"no state: send it as 'state'.*\['images', 'prompt'\]"),
        (aloha(images=picture()), "images is an array of uint8 and shape"),
        (aloha(images=[picture()]), "images is of type list; expected a map"),
        (aloha(images={3: picture()}), "a key of images is of type int"),
        (b"1234", "the observation is bytes of length 4; expected a map"),
        ({7: 1}, "a key of the observation is of type int"),
        (
            aloha(images={"cam_high": b"\x89PNG"}),
            "cam_high is bytes of length 4; expected an image",
        ),
        (aloha(images={"cam_high": 3}), "cam_high is of type int; expected an image"),
        (aloha(images={"cam_high": np.zeros((12, 16), np.uint8)}), r"shape \(12, 16\); expected"),
        (aloha(images={"cam_high": picture()[None]}), r"shape \(1, 3, 12, 16\)"),
        (aloha(images={"cam_high": np.zeros((4, 12, 16), np.uint8)}), r"shape \(4, 12, 16\)"),
        (aloha(images={"cam_high": np.zeros((3, 0, 16), np.uint8)}), r"shape \(3, 0, 16\)"),
        (aloha(images={"cam_high": np.zeros((3, 1, 300), np.uint8)}), "1 x 300 pixels: nothing"),
        (aloha(images={"cam_high": np.zeros((3, 12, 16), np.int16)}), "holds int16; expected"),
        (aloha(images={"cam_high": np.full((3, 9, 9), 255.0)}), "from 255 to 255.*Divide it"),
        (aloha(images={"cam_high": np.full((3, 9, 9), np.nan)}), "from nan to nan"),
        (aloha(state=b"0123"), "state is bytes of length 4; expected a vector of 14 numbers"),
        (aloha(state="0 1 2"), "state is str of length 5"),
        (aloha(state=3), "state is of type int"),
        (aloha(state=None), "state is of type NoneType"),
        (aloha(state=np.array("a")), "state holds <U1"),
        (aloha(state=[[1, 2], [3]]), "state is a ragged list"),
        (aloha(state=np.zeros((1, 14))), r"state has shape \(1, 14\); expected a vector of 14"),
        (aloha(state=np.zeros(8)), r"state has shape \(8,\); expected a vector of 14 numbers"),
        (aloha(state=np.r_[np.zeros(13), np.nan]), r"state\[13\] is nan \(1 of 14 values"),
        (aloha(state=np.r_[np.inf, np.zeros(13)]), r"state\[0\] is inf"),
        (aloha(prompt=b"fold"), "prompt is bytes of length 4; expected a string"),
        (aloha(prompt=3), "prompt is of type int"),
        (aloha(adv_ind=1), "adv_ind is of type int; expected a string"),
        (aloha(**{"observation/state": np.zeros(14)}), "'state' and 'observation/state' are both"),
        (aloha(**{HEAD: picture()}), r"'images/cam_high' and .*head_camera' are both base_0_rgb"),
    ],
)
def test_what_cannot_be_read_is_named(message: Any, text: str) -> None:  # noqa: ANN401
    """The key, what came, and what is expected."""
    with pytest.raises(DataError, match=text):
        reader().observation(message)


@pytest.mark.parametrize(
    "message",
    [
        aloha(images={"x" * 100_000: picture()}),
        {f"{i}" * 1000: 1 for i in range(1000)} | {HEAD: picture()},
    ],
)
def test_an_answer_is_short_whatever_was_sent(message: dict[str, Any]) -> None:
    """A client's own bytes do not come back by the megabyte."""
    with pytest.raises(DataError) as raised:
        reader().observation(message)

    assert len(str(raised.value)) < 2000


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from([np.zeros(14), np.zeros(()), picture(), np.zeros((0, 3)), np.array("x")]),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children)
    ),
    max_leaves=5,
)
known = st.sampled_from(["state", "images", "prompt", "adv_ind", HEAD, STATE, "cam_high"])


@given(st.dictionaries(known | st.text(max_size=5), anything, max_size=6))
def test_no_message_brings_down_the_reader(changes: dict[str, Any]) -> None:
    """Whatever a client sends, it is an observation or a DataError."""
    try:
        observation = reader().observation(aloha() | changes)
    except DataError:
        return
    assert observation[STATE].shape == (14,)
    assert observation[HEAD].ndim == 3


def test_reading_messages_needs_no_jax() -> None:
    """The module can be used where the accelerator stack is not installed."""
    code = "import recap_core.transforms.wire, sys; sys.exit('jax' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
