"""What a client sends to a policy server, as an observation of the policy.

Four layouts are understood by their keys, mixed ones too:

    openpi's Aloha client   state, images: {cam_high, cam_left_wrist, cam_right_wrist, cam_low}
    openpi's LIBERO client  observation/state, observation/image, observation/wrist_image
    limb                    state, head_camera-images-rgb, left_wrist_camera-images-rgb, ...
    datasets                observation.state, observation.images.head_camera, ...

Each may bring ``prompt`` and ``adv_ind``. Images are channels first or last, uint8 (0-255) or float
(0-1), of any size. The names are data: ``embodiment.wire``.
"""

import difflib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Shaped

from recap_core.config.embodiment import View
from recap_core.config.policy import PolicyConfig
from recap_core.errors import DataError
from recap_core.transforms.observation import BASE_VIEW

PROMPT = "prompt"
ADV_IND = "adv_ind"

_NESTED = "images"
_SUFFIX = "-images-rgb"
_FEATURE_PREFIXES = ("observation.images.", "observation.")
_CLIENT_PREFIX = "observation/"
_MAX_LISTED, _MAX_SHOWN = 12, 80
_PICTURE_WORDS = ("image", "cam", "rgb")


class WireReader:
    """Reads clients' messages for one policy.

    Args:
        config: The policy; its ``embodiment.wire`` names cameras and state on the wire.
    """

    def __init__(self, config: PolicyConfig) -> None:
        embodiment, wire = config.embodiment, config.embodiment.wire
        self._cameras: dict[View, str] = {
            view: embodiment.views[view] for view in config.model.views if view in embodiment.views
        }
        self._image_px = config.model.image_px
        self._needs_base = BASE_VIEW in self._cameras
        self._state_features = embodiment.state
        self._state_dim = embodiment.state_dim
        names: dict[str, View | None] = dict.fromkeys(wire.ignored_cameras)
        names |= wire.cameras
        # Last: the dataset's own names mean what the dataset says.
        names |= {_short(feature): view for view, feature in embodiment.views.items()}
        self._names = names
        """Camera name to the view it fills; None: nobody looks at it."""
        self._image_keys: dict[str, View | None] = {}
        for name, view in names.items():
            self._image_keys |= dict.fromkeys(
                (f"{_NESTED}/{name}", f"{_CLIENT_PREFIX}{name}", name + _SUFFIX), view
            )
        self._image_keys |= {feature: view for view, feature in embodiment.views.items()}
        self._state_keys = self._keys_of_state(wire.state)

    def observation(self, message: Any) -> dict[str, Any]:  # noqa: ANN401 - clients are not trusted
        """The observation that a policy takes: dataset feature to array, ``prompt``, ``adv_ind``.

        ``prompt`` and ``adv_ind`` are there if the client sent them (None counts as not sent).
        Wrist cameras that the client lacks are left out. Keys that nothing reads are ignored,
        unless they look like a misspelt camera.

        Args:
            message: One unpacked message of a client, a map of strings to arrays and text.

        Raises:
            DataError: If something is missing, of another type or shape, not finite, or unknown;
                names the key, what came and what is expected.
        """
        if not isinstance(message, Mapping):
            raise DataError(f"the observation is {_described(message)}; expected a map.")
        observation: dict[str, Any] = {}
        pictures: dict[str, str] = {}
        state_keys: dict[str, str] = {}
        unknown: list[str] = []
        for key, value in _flat(message):
            if key in self._state_keys:
                feature = self._state_keys[key]
                _check_sent_once(feature, key, state_keys)
                observation[feature] = self._state(key, value)
            elif key in self._image_keys:
                view = self._image_keys[key]
                if view is not None and view in self._cameras:
                    _check_sent_once(view, key, pictures)
                    observation[self._cameras[view]] = self._picture(key, value)
            elif key in (PROMPT, ADV_IND):
                if value is not None:
                    observation[key] = _text(key, value)
            elif key.startswith(f"{_NESTED}/") or _looks_like_a_picture(key, value):
                unknown.append(_cut(key))
        self._check_cameras(pictures, unknown)
        self._check_state(state_keys, message)
        return observation

    def _keys_of_state(self, names: tuple[str, ...]) -> dict[str, str]:
        """Wire key to state feature."""
        keys: dict[str, str] = {}
        for feature in self._state_features:
            short = _short(feature)
            keys |= dict.fromkeys((short, _CLIENT_PREFIX + short, feature), feature)
        if len(self._state_features) == 1:
            keys |= dict.fromkeys(names, self._state_features[0])
        return keys

    def _state(self, key: str, value: Any) -> Shaped[np.ndarray, " s"]:  # noqa: ANN401 - anything
        is_vector = len(self._state_features) == 1
        expected = "a vector of numbers"
        if self._state_dim is not None and is_vector:
            expected = f"a vector of {self._state_dim} numbers"
        allowed = (np.ndarray, list, tuple) if is_vector else (np.ndarray, list, tuple, float)
        if not isinstance(value, (*allowed, np.floating)):
            raise DataError(f"{key} is {_described(value)}; expected {expected}.")
        try:
            array = np.asarray(value)
        except ValueError:
            raise DataError(f"{key} is a ragged list; expected {expected}.") from None
        if array.dtype.kind not in "iuf":
            raise DataError(f"{key} holds {array.dtype}; expected {expected}.")
        if array.ndim == 0 and not is_vector:
            array = array[None]
        if array.ndim != 1 or (is_vector and self._state_dim not in (None, len(array))):
            raise DataError(f"{key} has shape {array.shape}; expected {expected}.")
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            raise DataError(
                f"{key}[{bad[0]}] is {array[bad[0]]} ({bad.size} of {array.size} values are not "
                "finite). Check the robot's sensors."
            )
        return array

    def _picture(self, key: str, value: Any) -> Shaped[np.ndarray, "_ _ _"]:  # noqa: ANN401
        picture = _picture(key, value)
        height, width = picture.shape[:2] if picture.shape[-1] == 3 else picture.shape[1:]
        if min(height, width) * self._image_px < max(height, width):
            raise DataError(
                f"{key} is {height} x {width} pixels: nothing is left of it when it is scaled to "
                f"{self._image_px} x {self._image_px}. Check the camera."
            )
        return picture

    def _check_cameras(self, pictures: Mapping[str, str], unknown: list[str]) -> None:
        missing = [view for view in self._cameras if view not in pictures]
        if not self._cameras:
            return
        # Inside `images`, openpi refuses every unknown name. Elsewhere a further camera does no
        # harm, but with a view missing it is most likely that view under another name.
        wrong = [key for key in unknown if missing or key.startswith(f"{_NESTED}/")]
        if wrong:
            raise DataError(
                f"camera {wrong[0]!r} is unknown{_closest(wrong[0], self._image_keys)}. "
                f"Known cameras: {self._known()}. Correct it, or name it in embodiment.wire."
            )
        if self._needs_base and BASE_VIEW in missing:
            raise DataError(
                f"the observation has no camera for {BASE_VIEW} "
                f"({self._cameras[BASE_VIEW]!r} of the dataset). Known cameras: {self._known()}."
            )

    def _check_state(self, sent: Mapping[str, str], message: Mapping[Any, Any]) -> None:
        missing = [feature for feature in self._state_features if feature not in sent]
        if missing:
            keys = [key for key, feature in self._state_keys.items() if feature == missing[0]]
            raise DataError(
                f"the observation has no state: send it as {' or '.join(map(repr, keys))}. "
                f"It has {_listed(message)}."
            )

    def _known(self) -> str:
        """The cameras that a client may send, and what they are."""
        seen = [f"{name} ({view})" for name, view in self._names.items() if view in self._cameras]
        return ", ".join(seen)


def _flat(message: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The items of a message, those of ``images`` as ``images/<camera>``."""
    for key, value in message.items():
        if not isinstance(key, str):
            raise DataError(f"a key of the observation is {_described(key)}; keys must be strings.")
        if key != _NESTED:
            yield key, value
            continue
        if not isinstance(value, Mapping):
            raise DataError(f"images is {_described(value)}; expected a map of cameras to images.")
        for camera, image in value.items():
            if not isinstance(camera, str):
                raise DataError(
                    f"a key of images is {_described(camera)}; expected the name of a camera."
                )
            yield f"{_NESTED}/{camera}", image


def _picture(key: str, value: Any) -> Shaped[np.ndarray, "_ _ _"]:  # noqa: ANN401 - anything
    expected = "an image of shape (3, height, width) or (height, width, 3), uint8 or float (0-1)"
    if not isinstance(value, np.ndarray):
        raise DataError(f"{key} is {_described(value)}; expected {expected}.")
    if value.ndim != 3 or 3 not in (value.shape[0], value.shape[-1]) or value.size == 0:
        raise DataError(f"{key} has shape {value.shape}; expected {expected}.")
    if value.dtype == np.uint8:
        return value
    if value.dtype.kind != "f":
        raise DataError(f"{key} holds {value.dtype}; expected {expected}.")
    low, high = float(value.min()), float(value.max())
    # What truncates to 0-255; NaN fails as well.
    if not (255 * low > -1 and 255 * high < 256):
        raise DataError(
            f"{key} holds values from {low:g} to {high:g}; a float image is between 0 and 1. "
            "Divide it by 255, or send uint8."
        )
    return value


def _text(key: str, value: Any) -> str:  # noqa: ANN401 - anything
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind == "U":
        value = value.item()
    if not isinstance(value, str):
        raise DataError(f"{key} is {_described(value)}; expected a string.")
    return str(value)


def _check_sent_once(slot: str, key: str, sent: dict[str, str]) -> None:
    if slot in sent:
        raise DataError(f"{sent[slot]!r} and {key!r} are both {slot}. Send one of them.")
    sent[slot] = key


def _looks_like_a_picture(key: str, value: Any) -> bool:  # noqa: ANN401 - anything
    is_named_so = any(word in key.lower() for word in _PICTURE_WORDS)
    is_colour = isinstance(value, np.ndarray) and value.ndim == 3 and 3 in value.shape[::2]
    return is_named_so and is_colour


def _closest(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.8)
    return f"; did you mean {close[0]!r}?" if close else ""


def _short(feature: str) -> str:
    """``observation.images.head_camera`` is the camera ``head_camera``."""
    for prefix in _FEATURE_PREFIXES:
        feature = feature.removeprefix(prefix)
    return feature


def _listed(message: Mapping[Any, Any]) -> str:
    """The keys of a message, as many and as much of them as a person would read."""
    keys = sorted(_cut(str(key)) for key in islice(message, _MAX_LISTED))
    more = len(message) - len(keys)
    return f"{keys}" + (f" and {more} more" if more > 0 else "")


def _cut(key: str) -> str:
    return key if len(key) <= _MAX_SHOWN else f"{key[: _MAX_SHOWN - 3]}..."


def _described(value: object) -> str:
    """Type and size of whatever came."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    if isinstance(value, (str, bytes)):
        return f"{type(value).__name__} of length {len(value)}"
    return f"of type {type(value).__name__}"
