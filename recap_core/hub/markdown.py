"""Parts of a card as Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from recap_core.hub.privacy import without_paths

_SPECIAL = re.compile(r"([\\`*_|<>\[\]])")


def plain(text: object) -> str:
    """Text of a user on one line, in which nothing is markup and no directory is named."""
    return _SPECIAL.sub(r"\\\1", " ".join(without_paths(str(text)).split()))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows below a head; cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def bullets(lines: Iterable[str]) -> str:
    """A list; lines are Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def code(text: str, language: str) -> str:
    """A block that is shown as it is."""
    return f"```{language}\n{text.strip()}\n```"


def settings(content: dict[str, Any]) -> str:
    """Settings as YAML, without directories."""
    return code(
        yaml.safe_dump(without_paths(content), sort_keys=False, width=100, allow_unicode=True),
        "yaml",
    )


def page(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """A title, and sections under their heads; empty ones are left out.

    The first may have no head.
    """
    parts = [f"# {title}"]
    for head, body in sections:
        if body:
            parts.append(f"## {head}\n\n{body}" if head else body)
    return "\n\n".join(parts) + "\n"
