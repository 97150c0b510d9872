"""What changed between two sets of settings."""

from collections.abc import Mapping
from typing import Any, NamedTuple

NOT_SET = "not set"
"""In place of a value that one side lacks."""


class SettingChange(NamedTuple):
    """One setting that differs, values as text."""

    path: str
    """Where it is: ``iteration.label.positive_share``."""
    before: str
    after: str


def setting_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[SettingChange]:
    """Every setting that differs, in the order of the settings; lists are compared as a whole."""
    first, second = dict(_flat(before)), dict(_flat(after))
    return [
        SettingChange(path, first.get(path, NOT_SET), second.get(path, NOT_SET))
        for path in dict.fromkeys([*first, *second])
        if first.get(path, NOT_SET) != second.get(path, NOT_SET)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{prefix}{name}.")  # pyright: ignore[reportUnknownArgumentType] - JSON
        else:
            found.append((f"{prefix}{name}", _text(value)))
    return found


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "empty"  # pyright: ignore[reportUnknownVariableType] - JSON
    return str(value)
