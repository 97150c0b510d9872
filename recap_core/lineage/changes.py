"""What differs between two sets of settings, key by key."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict


class Change(BaseModel):
    """One setting that differs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    key: str
    """``iteration.label.positive_share``; a number stands for a place in a list."""
    kind: Literal["changed", "added", "removed"]
    """``added`` and ``removed``: one side does not say; it has the default of its time."""
    old: Any = None
    new: Any = None

    def text(self) -> str:
        """``old -> new``; ``-`` where a side does not say."""
        old = "-" if self.kind == "added" else _text(self.old)
        new = "-" if self.kind == "removed" else _text(self.new)
        return f"{old} -> {new}"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain JSON values by ``a.b.c``; empty mappings and lists are values themselves."""
    return dict(_flat(settings, prefix))


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """Every setting whose value is not the same on both sides, in the order of the new ones."""
    before, after = flat(old), flat(new)
    found: list[Change] = []
    for key, value in after.items():
        if key not in before:
            found.append(Change(key=key, kind="added", new=value))
        elif before[key] != value:
            found.append(Change(key=key, kind="changed", old=before[key], new=value))
    gone = [key for key in before if key not in after]
    return (*found, *(Change(key=key, kind="removed", old=before[key]) for key in gone))


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        items = [(str(name), item) for name, item in cast("Mapping[Any, Any]", value).items()]
    elif isinstance(value, list | tuple) and any(
        isinstance(item, Mapping) for item in cast("list[Any]", value)
    ):
        items = [(str(i), item) for i, item in enumerate(cast("list[Any]", value))]
    else:
        yield key, list(cast("tuple[Any]", value)) if isinstance(value, tuple) else value
        return
    if not items:
        yield key, cast("Any", value)
    for name, item in items:
        yield from _flat(item, f"{key}.{name}" if key else name)


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(item) for item in cast("list[Any]", value)) + "]"
    return "none" if value is None else str(value)
