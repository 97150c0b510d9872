"""Why a stage ran anew, in words."""

import json as json_format
from collections.abc import Iterable, Iterator

from recap_core.lineage.why import Difference, Why

_MAX_VALUE = 60
_FEW_SETTINGS = 3


def why_lines(why: Why, *, max_settings: int | None = None) -> list[str]:
    """Key parts, the nearest earlier result, and what differs from it."""
    parts = why.parts
    lines = [f"  stage     {parts.stage}, version {parts.version}"]
    lines += _listed("inputs", [f"{i.role}: {i.label}" for i in parts.inputs])
    settings = [f"{name} = {_value(value)}" for name, value in parts.settings.items()]
    shown = settings[:max_settings]
    if len(shown) < len(settings):
        shown.append(f"and {len(settings) - len(shown)} more; see all with --verbose")
    lines += _listed("settings", shown or ["all of them defaults"])
    return [*lines, "", *because_lines(why)]


def because_lines(why: Why) -> list[str]:
    """The nearest earlier result, and what differs from it."""
    if why.nearest is None:
        return [f"Nothing of stage {why.parts.stage} was made before."]
    when = f"{why.nearest.finished_at:%Y-%m-%d %H:%M}"
    gone = ", removed since" if why.nearest.is_removed else ""
    head = f"The nearest earlier result is {why.nearest.label} of {when}{gone}."
    if not why.differences:
        return [f"{head} It was made from the same parts."]
    return [f"{head} What differs:", *_tree(why.differences, "  ")]


def because_line(why: Why) -> str:
    """The same in one line, for a table."""
    if why.nearest is None:
        return "never ran before"
    if not why.differences:
        return f"as {why.nearest.label}, which is damaged or asked for anew"
    told = list(why.differences)
    if sum(difference.what == "setting" for difference in told) > _FEW_SETTINGS:
        told.sort(key=lambda difference: difference.what == "setting")  # inputs say more then
    words = [_words(difference) for difference in told]
    more = f", and {len(words) - 2} more" if len(words) > 2 else ""
    return "; ".join(words[:2]) + more


def _tree(differences: Iterable[Difference], indent: str) -> Iterator[str]:
    for difference in differences:
        ending = ", because" if difference.because else ""
        ending = ", explained above" if difference.is_told else ending
        yield f"{indent}- {_words(difference)}{ending}"
        yield from _tree(difference.because, f"{indent}    ")


def _words(difference: Difference) -> str:
    subject, before, after = difference.subject, difference.before, difference.after
    if difference.what == "input":
        if before is None:
            return f"input {subject}: {after} is new"
        if after is None:
            return f"input {subject}: {before} is no longer there"
        return f"input {subject}: {before} -> {after}"
    return {
        "version": f"stage {subject} is version {after}, not {before}: its code changed results",
        "setting": f"setting {subject}: {_value(before)} -> {_value(after)}",
        "content": "the same stage, settings and inputs, made again with other content",
        "code": f"made by {subject} {after}, not {before}",
        "removed": f"the same as before, but it was removed on {before} ({subject})",
    }[difference.what]


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json_format.dumps(value)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 3]}..."


def _listed(title: str, items: list[str]) -> list[str]:
    return [f"  {title if i == 0 else '':<9} {item}" for i, item in enumerate(items)]
