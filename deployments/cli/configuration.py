"""From a preset, a file and overrides to the settings of a run or of one stage."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from recap_core.config.base import Config
from recap_core.config.overlay import NAME_MAPS, lay_over, read_settings, validated
from recap_core.errors import ConfigError


def load_settings[C: Config](preset: C, *, file: Path | None, overrides: Sequence[str]) -> C:
    """``preset``, with the settings of ``file`` laid over it, and the overrides over that.

    Raises:
        ConfigError: If the file cannot be read, a key is unknown, or a value is not allowed.
    """
    settings = preset.model_dump(mode="json")
    if file is not None:
        lay_over(settings, read_settings(file), replaced=NAME_MAPS)
    for override in overrides:
        lay_over(settings, _parse(override))
    return validated(type(preset), settings)


def nested(overrides: Sequence[str]) -> dict[str, Any]:
    """``a.b=1`` and the like as one nested map; later ones win.

    Raises:
        ConfigError: If one is no ``KEY=VALUE``, or its value is not YAML.
    """
    settings: dict[str, Any] = {}
    for override in overrides:
        lay_over(settings, _parse(override))
    return settings


def _parse(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(
            f"{override!r} is no setting: write KEY=VALUE, such as "
            f"{key.strip().strip('.') or 'name'}=3"
        )
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"value of {key!r} is not YAML: {text!r}") from error
    for name in reversed(names):
        value = {name: value}
    return value
