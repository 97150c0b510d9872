"""What changed between two sets of settings."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

NOT_SET = "not set"
"""In place of a value that one side lacks."""

NOT_CHOSEN = frozenset({"iteration.collect.round_index"})
"""What every round sets by itself."""


class SettingChange(NamedTuple):
    """One setting that differs, values as text."""

    path: str
    """Where it is: ``iteration.label.positive_share``."""
    before: str
    after: str


def setting_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[SettingChange]:
    """Every setting that differs, in the order of the settings; lists are compared as a whole.

    What a round sets by itself (:data:`NOT_CHOSEN`) is left out.
    """
    first, second = dict(_flat(before)), dict(_flat(after))
    return [
        SettingChange(path, first.get(path, NOT_SET), second.get(path, NOT_SET))
        for path in dict.fromkeys([*first, *second])
        if path not in NOT_CHOSEN and first.get(path, NOT_SET) != second.get(path, NOT_SET)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            found += _flat(cast("dict[str, Any]", value), f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", _text(value)))
    return found


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in cast("list[Any]", value)) or "empty"
    return str(value)
