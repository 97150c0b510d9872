"""From a preset, a file and overrides to the settings of a run or of one stage."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from recap_core.config.base import Config
from recap_core.config.labels import LABEL_PRESETS
from recap_core.errors import ConfigError

_NAME_MAPS = frozenset({"views", "cameras"})
"""Settings that map free names. A file replaces them: another robot does not have the cameras of
the preset's."""


def load_settings[C: Config](preset: C, *, file: Path | None, overrides: Sequence[str]) -> C:
    """``preset``, with the settings of ``file`` laid over it, and the overrides over that.

    Raises:
        ConfigError: If the file cannot be read, a key is unknown, or a value is not allowed.
    """
    settings = preset.model_dump(mode="json")
    if file is not None:
        _lay_over(settings, read_settings(file), replaced=_NAME_MAPS)
    for override in overrides:
        _lay_over(settings, _parse(override))
    try:
        return type(preset).model_validate(settings)
    except ValidationError as error:
        raise ConfigError(explain(error, type(preset))) from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong, in one line, and how many more there are."""
    details = error.errors(include_url=False)
    first = details[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"unknown setting {key!r}{_suggestion(first, model)}"
    else:
        rule = first["msg"].removeprefix("Value error, ")
        text = f"{key} is {_short(first['input'])}: {rule}" if key else rule
    return text + (f" (and {len(details) - 1} more)" if len(details) > 1 else "")


def _suggestion(detail: ErrorDetails, model: type[BaseModel]) -> str:
    *parents, name = detail["loc"]
    known = _fields(model, parents)
    close = difflib.get_close_matches(str(name), known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(known)}" if known else ""


def _fields(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Names of the settings of the model at ``path``; none if that is not a model."""
    current: Any = model
    for part in path:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
        field = current.model_fields.get(str(part))
        if field is None:
            return []
        current = field.annotation
        for choice in getattr(current, "__args__", ()):  # X | None
            if isinstance(choice, type) and issubclass(choice, BaseModel):
                current = choice
    is_model = isinstance(current, type) and issubclass(current, BaseModel)
    return list(current.model_fields) if is_model else []


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a YAML file; none if it is empty.

    Raises:
        ConfigError: If it cannot be read, is not YAML, or holds something else.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{file} is not YAML: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file} holds a {type(content).__name__}, not settings by name")
    return content


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


def _lay_over(
    settings: dict[str, Any],
    changes: Mapping[str, Any],
    *,
    replaced: frozenset[str] = frozenset(),
) -> None:
    for name, value in changes.items():
        below = settings.get(name)
        if isinstance(below, str) and isinstance(value, Mapping) and below in LABEL_PRESETS:
            below = settings[name] = LABEL_PRESETS[below].model_dump(mode="json")
        if isinstance(below, dict) and isinstance(value, Mapping) and name not in replaced:
            _lay_over(below, value, replaced=replaced)
        else:
            settings[name] = value


def _short(value: object, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
