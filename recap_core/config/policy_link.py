"""How a robot asks a policy server, and how it plays the answers."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from recap_core.config import environment
from recap_core.config.base import RuntimeConfig

type Name = Annotated[str, StringConstraints(min_length=1)]

MAX_IMAGE_PX = 4096


class PolicyLinkConfig(RuntimeConfig):
    """A policy server, what it is sent, and how its action chunks follow one another."""

    host: Name = "127.0.0.1"
    """Name or address, or a whole ``ws://`` or ``wss://`` URL."""
    port: int | None = Field(default=None, ge=1, le=65_535)
    """None: that of the URL, else 8000, as openpi's."""
    api_key_file: Path | None = None
    """File with the key that the server wants; None: the environment variable's key, if any."""
    api_key_variable: Name = environment.API_KEY_VARIABLE
    """Environment variable with that key."""

    adv_ind: Literal["positive", "negative", "none"] | None = "positive"
    """Advantage class that is asked for; None sends none, and the server chooses."""
    state: dict[Name, Name] | None = None
    """Feature of the robot to its key on the wire; None: what the server says it reads, or
    ``{observation.state: state}`` where it says nothing."""
    cameras: dict[Name, Name] | None = None
    """Camera of the robot to its key on the wire. ``images/cam_high`` is sent inside of the map
    ``images``, any other key as it is. None: what the server says it reads, or every camera under
    ``images`` where it says nothing."""
    image_px: Annotated[int, Field(ge=1, le=MAX_IMAGE_PX)] | Literal["server", "camera"] = "server"
    """Height and width that images are scaled to before they are sent, without distortion and
    centred on black, pixels. ``server``: what its model takes, or 224 where it does not say;
    ``camera``: not scaled."""
    channels: Literal["first", "last"] = "first"
    """Where an image on the wire has its colours."""
    sends_seed: bool = False
    """Send ``episode_seed`` and ``frame_index``, where the observation has them."""

    mode: Literal["async", "sync"] = "async"
    """``async`` asks while actions are left; ``sync`` when none is, and the robot holds still
    until the answer comes."""
    action_horizon: int | None = Field(default=None, ge=1)
    """Actions of a chunk that are played at most; None: all of them."""
    prefetch_at: int = Field(default=25, ge=0)
    """``async``: actions left at which the next chunk is asked for."""
    smoothing_window: int = Field(default=4, ge=0)
    """Longest transition between two chunks, ticks; 0 switches at once."""
    max_repeats: int = Field(default=15, ge=0)
    """``async``: ticks for which the last action is repeated where the next chunk is late; then
    the robot is paused."""
    answer_timeout_s: float = Field(default=5.0, gt=0)
    """Longest wait for an answer; then the robot is paused and the connection is made anew."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Longest single attempt to connect; attempts never end."""

    @field_validator("host")
    @classmethod
    def _no_other_protocol(cls, host: str) -> str:
        scheme, separator, rest = host.partition("://")
        if separator and scheme not in ("ws", "wss"):
            raise ValueError("is no ws:// or wss:// address; openpi's protocol is a websocket")
        if "@" in (rest or host):
            raise ValueError(
                "holds a user or a password, and would be shown; name a file with the key in "
                "api_key_file"
            )
        return host

    @field_validator("state", "cameras")
    @classmethod
    def _one_key_each(cls, keys: dict[str, str] | None) -> dict[str, str] | None:
        if keys is not None:
            twice = sorted({key for key in keys.values() if list(keys.values()).count(key) > 1})
            if twice:
                raise ValueError(f"sends two things as {', '.join(twice)}; give each its own key")
        return keys

    def read_api_key(self) -> str | None:
        """The key that the server wants; None: none is sent.

        Raises:
            ConfigError: If the file cannot be read, or does not hold one line.
        """
        return environment.api_key(self.api_key_file, self.api_key_variable)
