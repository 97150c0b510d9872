"""Videos of episodes on one HTML page that needs nothing installed."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from recap_core.reports.page import page_environment, render_page, write_text


class Film(NamedTuple):
    """One video with what is to be said of it."""

    title: str
    """``seed 500003``."""
    caption: str
    """How it ended, and after how long."""
    is_success: bool
    path: Path
    note: str = ""
    """What is unusual about it."""


class FilmGroup(NamedTuple):
    """The videos of one policy."""

    title: str
    text: str
    """How often it succeeded, and what its failures are."""
    films: tuple[Film, ...]
    num_left_out: int
    """Episodes that would belong here and were not filmed."""


def write_film_sheet(title: str, subtitle: str, groups: Sequence[FilmGroup], path: Path) -> int:
    """Write the page, videos inside it, to ``path``; returns its size in bytes."""
    page = render_page(
        page_environment(functions={"video_uri": _video_uri}),
        "film_sheet.html",
        style="film_sheet.css",
        title=title,
        subtitle=subtitle,
        groups=groups,
    )
    return write_text(page, path)


def _video_uri(path: Path) -> Markup:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return Markup(f"data:video/mp4;base64,{data}")  # noqa: S704 - base64 has no markup
