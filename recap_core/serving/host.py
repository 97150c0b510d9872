"""The policy that is served now: what a message is answered with, and how it is replaced."""

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from recap_core.config.policy import PolicyConfig
from recap_core.errors import DataError, IncompatibleError
from recap_core.serving.policy import LoadedPolicy
from recap_core.serving.protocol import pack, unpack
from recap_core.serving.recorder import Recorder
from recap_core.transforms.wire import WireReader

MAX_SEED = 2**63
MAX_PROMPT_CHARS = 4096
"""Longest task text of a request; tokenising megabytes would hold up every other robot."""


class Reply(NamedTuple):
    """A packed answer."""

    data: bytes
    inference_s: float


class ServedPolicy:
    """A loaded policy behind the wire protocol.

    Args:
        policy: Loaded for one observation per device call.
        name: What it is called: ``finetune-1-0a1b2c3d``, or a directory.
        artifact_id: Its id in the store; empty outside of one.
    """

    def __init__(self, policy: LoadedPolicy, *, name: str, artifact_id: str = "") -> None:
        self.name = name
        self.artifact_id = artifact_id
        self.policy = policy
        self._reader = WireReader(policy.config)

    @property
    def config(self) -> PolicyConfig:
        """Architecture, robot and prompt."""
        return self.policy.config

    def facts(self) -> dict[str, Any]:
        """What a client may want to know, under the key ``policy`` of the metadata."""
        config, defaults = self.config, self.policy.defaults
        cameras = {view: config.embodiment.views.get(view) for view in config.model.views}
        return {
            "name": self.name,
            "id": self.artifact_id,
            "action_horizon": config.model.action_horizon,
            "action_dim": self.policy.action_dim,
            "state_dim": self.policy.state_dim,
            "state": list(config.embodiment.state),
            "cameras": {view: camera for view, camera in cameras.items() if camera is not None},
            "image_px": config.model.image_px,
            "default_prompt": defaults.prompt or config.embodiment.default_prompt,
            "default_adv_ind": defaults.adv_ind if config.prompt.advantage else None,
            "guidance": self.policy.guidance,
            "num_denoise_steps": config.num_denoise_steps,
        }

    def answer(self, message: object) -> dict[str, Any]:
        """``actions`` of shape (action_horizon, action dims), float64 as openpi sends them.

        ``episode_seed`` and ``frame_index`` in the message, both or neither, seed the noise.

        Raises:
            DataError: If the message is no observation of this robot, or the actions are not
                finite.
        """
        if not isinstance(message, Mapping):
            raise DataError(
                f"a request is of type {type(message).__name__}; expected a map of observations."
            )
        observation = self._reader.observation(message)
        num_chars = len(observation.get("prompt", ""))
        if num_chars > MAX_PROMPT_CHARS:
            raise DataError(
                f"the prompt has {num_chars} characters, more than {MAX_PROMPT_CHARS}. "
                "Send the task in a sentence."
            )
        observation |= _seeds(message)
        sampled = self.policy.sample([observation])
        actions = np.asarray(sampled.chunks[0], np.float64)
        if not np.isfinite(actions).all():
            raise DataError(
                f"policy {self.name} answered with {np.count_nonzero(~np.isfinite(actions))} "
                "actions that are not finite. Check its norm stats and its checkpoint."
            )
        return {"actions": actions, "policy_timing": {"infer_ms": 1e3 * sampled.model_s}}


class PolicyHost:
    """Holds the policy that is served, and answers with it.

    ``respond`` is called by one thread at a time; ``swap`` by any.

    Args:
        policy: The first policy, warmed up.
        metadata: Further keys of the metadata, such as openpi's ``reset_pose``.
        names_policy: Whether every answer says under ``policy`` who gave it. Off, an answer has
            openpi's keys only.
        recorder: Keeps requests and answers.
    """

    def __init__(
        self,
        policy: ServedPolicy,
        *,
        metadata: Mapping[str, Any] | None = None,
        names_policy: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        self._policy = policy
        self._metadata = dict(metadata or {})
        self._names_policy = names_policy
        self._recorder = recorder
        self._lock = threading.Lock()

    @property
    def current(self) -> ServedPolicy:
        """The policy that answers the next request."""
        with self._lock:
            return self._policy

    def labels(self) -> dict[str, str]:
        """Name and id of the current policy."""
        policy = self.current
        return {"name": policy.name, "id": policy.artifact_id}

    def metadata(self) -> bytes:
        """The packed first frame of a connection."""
        return pack({**self._metadata, "policy": self.current.facts()})

    def respond(self, data: bytes, previous_total_s: float | None) -> Reply:
        """Answer one packed request.

        Args:
            data: The message.
            previous_total_s: How long the connection's previous request took, if there was one.

        Raises:
            DataError: If the request is malformed.
        """
        message = unpack(data)
        policy = self.current
        started = time.perf_counter()
        response = policy.answer(message)
        inference_s = time.perf_counter() - started
        timing = {"infer_ms": 1e3 * inference_s}
        if previous_total_s is not None:
            timing["prev_total_ms"] = 1e3 * previous_total_s
        response["server_timing"] = timing
        if self._names_policy:
            response["policy"] = policy.name
        if self._recorder is not None and isinstance(message, Mapping):
            self._recorder.record(message, response)
        return Reply(pack(response), inference_s)

    def swap(self, policy: ServedPolicy) -> ServedPolicy:
        """Answer with ``policy``, warmed up, from the next request on; returns the old one.

        Raises:
            IncompatibleError: If clients would have to know: another state, other cameras, another
                action width or horizon.
        """
        old = self.current
        differences = [
            f"{what} {getattr(before, what)} became {getattr(after, what)}"
            for before, after in [(_interface(old), _interface(policy))]
            for what in before._fields
            if getattr(before, what) != getattr(after, what)
        ]
        if differences:
            raise IncompatibleError(
                f"{policy.name} cannot take over from {old.name} while robots are connected: "
                f"{'; '.join(differences)}. Serve it with a new server."
            )
        with self._lock:
            self._policy = policy
        return old


class _Interface(NamedTuple):
    """What a robot's client has to know of a policy."""

    state: tuple[str, ...]
    state_dim: int
    cameras: dict[str, str]
    action_dim: int
    action_horizon: int
    wire: object


def _interface(policy: ServedPolicy) -> _Interface:
    facts, embodiment = policy.facts(), policy.config.embodiment
    return _Interface(
        state=embodiment.state,
        state_dim=facts["state_dim"],
        cameras=facts["cameras"],
        action_dim=facts["action_dim"],
        action_horizon=facts["action_horizon"],
        wire=embodiment.wire,
    )


def _seeds(message: Mapping[str, Any]) -> dict[str, int]:
    names = [name for name in ("episode_seed", "frame_index") if name in message]
    if len(names) == 1:
        raise DataError(f"{names[0]} came alone; send episode_seed and frame_index, or neither.")
    for name in names:
        value = message[name]
        is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not is_whole or not 0 <= value < MAX_SEED:
            raise DataError(
                f"{name} is {str(value)[:40]}; it must be a whole number in [0, 2**63)."
            )
    return {name: int(message[name]) for name in names}
