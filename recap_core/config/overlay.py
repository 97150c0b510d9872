"""Settings laid over settings, and what is wrong with them in one line."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from recap_core.config.base import Config
from recap_core.config.labels import LABEL_PRESETS
from recap_core.errors import ConfigError

NAME_MAPS = frozenset({"views", "cameras"})
"""Settings that map free names. A file replaces them: another robot does not have the cameras of
the preset's."""


def overlaid[C: Config](config: C, changes: Mapping[str, Any]) -> C:
    """``config`` with ``changes`` laid over it, key by key.

    Args:
        config: Settings that are complete.
        changes: The same shape, with only what differs.

    Raises:
        ConfigError: If a key is unknown, or a value is not allowed; one line that says which.
    """
    if not changes:
        return config
    settings = config.model_dump(mode="json")
    lay_over(settings, changes)
    return validated(type(config), settings)


def validated[C: BaseModel](model: type[C], settings: Mapping[str, Any], *, of: str = "") -> C:
    """Plain settings as ``model``.

    Args:
        model: What they must fit.
        settings: Plain values.
        of: What the settings are of; begins the message.

    Raises:
        ConfigError: If a key is unknown, or a value is not allowed; one line that says which.
    """
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(
            f"{of}: {explain(error, model)}" if of else explain(error, model)
        ) from None


def lay_over(
    settings: dict[str, Any],
    changes: Mapping[str, Any],
    *,
    replaced: frozenset[str] = frozenset(),
) -> None:
    """Put ``changes`` into ``settings``, key by key; a label preset's name stands for its settings.

    Args:
        settings: Plain values; changed in place.
        changes: The same shape, with only what differs.
        replaced: Keys whose maps are replaced as a whole.
    """
    for name, value in changes.items():
        below = settings.get(name)
        if isinstance(below, str) and isinstance(value, Mapping) and below in LABEL_PRESETS:
            below = settings[name] = LABEL_PRESETS[below].model_dump(mode="json")
        if isinstance(below, dict) and isinstance(value, Mapping) and name not in replaced:
            nested = cast("dict[str, Any]", below)
            lay_over(nested, cast("Mapping[str, Any]", value), replaced=replaced)
        else:
            settings[name] = value


def changes_between(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`lay_over` lays over ``old`` to get ``new``.

    Args:
        old: Plain values.
        new: The same shape; a key that only ``old`` has cannot be expressed and stays.
    """
    changes: dict[str, Any] = {}
    for name, value in new.items():
        below = old.get(name)
        if isinstance(value, dict) and isinstance(below, dict):
            nested = changes_between(cast("dict[str, Any]", below), cast("dict[str, Any]", value))
            if nested:
                changes[name] = nested
        elif name not in old or value != below:
            changes[name] = value
    return changes


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a YAML file; none if it is empty.

    Raises:
        ConfigError: If it cannot be read, is not YAML, gives a setting twice, or holds something
            else.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe one
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{file} is not YAML: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file} holds a {type(content).__name__}, not settings by name")
    return cast("dict[str, Any]", content)


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - as the class has it
        seen: set[str] = set()
        for key, _ in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{name!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong, in one line, and how many more there are."""
    details = error.errors(include_url=False)
    first = details[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"unknown setting {key!r}{_suggestion(first, model)}"
    elif first["type"] == "model_type" and key:
        below = ", ".join(_fields(model, first["loc"]))
        text = f"{key} is {_short(first['input'])}: it has settings of its own, {below}"
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
    if isinstance(current, type) and issubclass(current, BaseModel):
        return list(current.model_fields)
    return []


def _short(value: object, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
