"""What goes over the wire, for each kind of server."""

from typing import Any

import numpy as np
import pytest

from recap_core.config.policy_link import PolicyLinkConfig
from recap_core.errors import DataError
from recap_core.serving.policy_request import RequestFormat
from recap_core.transforms.images import resize_with_pad

CAMERAS = ("head", "wrist")


def observation() -> dict[str, Any]:
    """Of a robot with two cameras."""
    rng = np.random.default_rng(0)
    images = {
        f"observation.images.{name}": rng.integers(0, 256, (48, 64, 3), np.uint8)
        for name in CAMERAS
    }
    state = {"observation.state": np.ones(3, np.float32), "observation.force": np.zeros(2)}
    return images | state | {"prompt": "fold", "episode_seed": 1, "frame_index": 2}


def sent(settings: dict[str, Any], policy: dict[str, Any] | None = None) -> dict[str, Any]:
    """The message of such a robot to a server that says this of its policy."""
    metadata = {} if policy is None else {"policy": policy}
    config = PolicyLinkConfig.model_validate(settings)
    request_format = RequestFormat.agreed(config, metadata)
    return request_format.message(request_format.taken(observation()))


def scaled(camera: str, image_px: int) -> np.ndarray:
    """As the model's own transforms do it."""
    image = observation()[f"observation.images.{camera}"]
    return resize_with_pad(image[None], image_px, image_px)[0]


def test_a_server_that_says_nothing_is_sent_openpis_names() -> None:
    """State, every camera at 224 x 224 with its colours first, the prompt and the condition."""
    message = sent({})

    assert set(message) == {"state", "images", "prompt", "adv_ind"}
    assert set(message["images"]) == set(CAMERAS)
    for camera in CAMERAS:
        expected = np.moveaxis(scaled(camera, 224), -1, 0)
        np.testing.assert_array_equal(message["images"][camera], expected)
    assert (message["prompt"], message["adv_ind"]) == ("fold", "positive")


def test_a_server_that_says_what_it_reads_is_sent_that() -> None:
    """By the dataset's names, at its model's size; a camera that the robot lacks is left out."""
    message = sent(
        {"channels": "last"},
        {
            "state": ["observation.state", "observation.force"],
            "cameras": {
                "base_0_rgb": "observation.images.head",
                "left_wrist_0_rgb": "observation.images.elbow",
            },
            "image_px": 28,
        },
    )

    assert set(message) == {
        "observation.state",
        "observation.force",
        "observation.images.head",
        "prompt",
        "adv_ind",
    }
    np.testing.assert_array_equal(message["observation.images.head"], scaled("head", 28))


def test_settings_win_over_what_the_server_says() -> None:
    """Names, sizes, no condition, and seeds where they are wanted."""
    message = sent(
        {
            "state": {"observation.force": "observation/state"},
            "cameras": {"head": "images/cam_high", "wrist": "observation/wrist_image"},
            "image_px": "camera",
            "adv_ind": None,
            "sends_seed": True,
        },
        {"state": ["observation.state"], "cameras": {}, "image_px": 28},
    )

    assert set(message) == {
        "observation/state",
        "images",
        "observation/wrist_image",
        "prompt",
        "episode_seed",
        "frame_index",
    }
    assert message["observation/state"].shape == (2,)
    assert message["images"]["cam_high"].shape == (3, 48, 64)
    assert message["observation/wrist_image"].shape == (3, 48, 64)


@pytest.mark.parametrize(
    "nonsense",
    [5, {"state": 5, "cameras": 7, "image_px": "big"}, {"image_px": 10**9}, {"state": [1]}],
)
def test_what_a_server_says_is_not_relied_upon(nonsense: Any) -> None:  # noqa: ANN401 - anything
    """Nonsense counts as nothing."""
    message = sent({}, nonsense)

    assert message["state"].shape == (3,)
    assert message["images"]["head"].shape == (3, 224, 224)


@pytest.mark.parametrize("image", [np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3))])
def test_an_image_that_is_none_is_an_error(image: np.ndarray) -> None:
    """Grey, or in float: named with its shape and type."""
    request_format = RequestFormat.agreed(PolicyLinkConfig(), {})

    with pytest.raises(DataError, match=r"observation\.images\.head has shape \(48, 64"):
        request_format.taken(observation() | {"observation.images.head": image})
