"""What a robot senses, as a policy server wants to be sent it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from recap_core.config.policy_link import MAX_IMAGE_PX, PolicyLinkConfig
from recap_core.data.image_fit import fit_image
from recap_core.errors import DataError

CAMERA_PREFIX = "observation.images."
OPENPI_IMAGE_PX = 224
"""What openpi's models take."""

_NESTED = "images/"
_STATE = {"observation.state": "state"}
_ALWAYS = ("prompt",)
_SEEDS = ("episode_seed", "frame_index")


class RequestFormat(NamedTuple):
    """Which of a robot's features a server is sent, under which keys, and how."""

    state: Mapping[str, str]
    """Feature to key."""
    cameras: Mapping[str, str] | None
    """Feature to key; None: every camera of the robot, inside of ``images``."""
    needs_cameras: bool
    """Whether an observation without one of them is an error, and not the server's to judge."""
    image_px: int | None
    """Height and width of images; None: as they are."""
    has_channels_first: bool
    adv_ind: str | None
    sends_seed: bool

    @classmethod
    def agreed(cls, config: PolicyLinkConfig, metadata: Mapping[str, Any]) -> "RequestFormat":
        """What the settings say, and the server where they leave it open.

        Args:
            config: Settings of the robot's side.
            metadata: What the server said of itself; nothing in it is relied upon.
        """
        facts = policy_facts(metadata)
        state = config.state or {name: name for name in _texts(facts.get("state"))} or _STATE
        cameras: dict[str, str] | None = None
        if config.cameras is not None:
            cameras = {CAMERA_PREFIX + name: key for name, key in config.cameras.items()}
        elif isinstance(found := facts.get("cameras"), Mapping):
            cameras = {name: name for name in _texts(list(found.values()))}
        image_px = config.image_px
        if image_px == "server":
            told = facts.get("image_px")
            is_size = type(told) is int and 0 < told <= MAX_IMAGE_PX
            image_px = told if is_size else OPENPI_IMAGE_PX
        return cls(
            state=state,
            cameras=cameras,
            needs_cameras=config.cameras is not None,
            image_px=None if image_px == "camera" else image_px,
            has_channels_first=config.channels == "first",
            adv_ind=config.adv_ind,
            sends_seed=config.sends_seed,
        )

    def taken(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of what will be sent, which nobody else writes to; cheap.

        Raises:
            DataError: If the robot has no such feature, or an image is none.
        """
        cameras = self._cameras_of(observation)
        wanted = [*self.state, *cameras]
        if missing := [name for name in wanted if name not in observation]:
            raise DataError(
                f"the robot senses no {missing[0]}; it has {sorted(observation)}. Correct "
                "'state' or 'cameras' of the policy's settings."
            )
        taken: dict[str, Any] = {name: np.array(observation[name]) for name in wanted}
        for name in cameras:
            _check_image(name, taken[name])
        also = (*_ALWAYS, *(_SEEDS if self.sends_seed else ()))
        return taken | {name: observation[name] for name in also if name in observation}

    def message(self, taken: Mapping[str, Any]) -> dict[str, Any]:
        """The map that goes over the wire.

        Args:
            taken: What :meth:`taken` returned.
        """
        message: dict[str, Any] = {key: taken[name] for name, key in self.state.items()}
        for name, key in self._cameras_of(taken).items():
            image = self._image(taken[name])
            if key.startswith(_NESTED):
                message.setdefault("images", {})[key.removeprefix(_NESTED)] = image
            else:
                message[key] = image
        message |= {name: taken[name] for name in (*_ALWAYS, *_SEEDS) if name in taken}
        if self.adv_ind is not None:
            message["adv_ind"] = self.adv_ind
        return message

    def _cameras_of(self, observation: Mapping[str, Any]) -> dict[str, str]:
        if self.cameras is None:
            found = [name for name in observation if name.startswith(CAMERA_PREFIX)]
            return {name: _NESTED + name.removeprefix(CAMERA_PREFIX) for name in found}
        return {
            name: key
            for name, key in self.cameras.items()
            if self.needs_cameras or name in observation
        }

    def _image(self, image: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "_ _ _"]:
        if self.image_px is not None:
            image = fit_image(image, self.image_px, self.image_px)
        return np.moveaxis(image, -1, 0) if self.has_channels_first else image


def policy_facts(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a server says of its policy; nothing, if it is openpi's."""
    facts = metadata.get("policy")
    return facts if isinstance(facts, Mapping) else {}


def _texts(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _check_image(name: str, image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"{name} has shape {image.shape} and type {image.dtype}; a robot's images are "
            "(height, width, 3) uint8."
        )
