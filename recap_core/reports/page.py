"""What all pages share: one base template, one stylesheet, and how they reach a file.

A page is one HTML file that needs nothing installed and nothing from a network; it says so in its
content security policy. All text that is put into it is escaped, and equal data give equal text.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recap_core.reports import label_shares, numbers, value_curves

STYLESHEET = "page.css"
"""The stylesheet of every page; a kind of page may add rules of its own after it."""


def page_environment(
    *,
    filters: Mapping[str, Any] | None = None,
    functions: Mapping[str, Any] | None = None,
) -> Environment:
    """Templates with escaping on, and the words and pictures that every page may ask for.

    Args:
        filters: What a kind of page needs besides.
        functions: Likewise.
    """
    environment = Environment(
        loader=PackageLoader("recap_core.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        bytes_text=numbers.bytes_text,
        count=numbers.count,
        decimal=numbers.decimal,
        duration=numbers.duration,
        percent=numbers.percent,
        percent_range=numbers.percent_range,
        points=numbers.points,
        rate=numbers.rate,
        signed=numbers.signed,
    )
    environment.globals.update(
        label_groups=label_shares.groups,
        label_total=label_shares.total_frames,
        legend_swatch=value_curves.legend_swatch,
        share_bar=label_shares.share_bar,
    )
    environment.filters.update(filters or {})
    environment.globals.update(functions or {})
    return environment


def render_page(
    environment: Environment, template: str, *, style: str = "", script: str = "", **data: object
) -> str:
    """A template that extends ``base.html``, with the stylesheet in it.

    Args:
        environment: Of :func:`page_environment`.
        template: Name of its file.
        style: Name of a file of further rules.
        script: Name of a script file; the page's policy allows it by its hash and no other.
        data: What the template shows.
    """
    names = [STYLESHEET, style] if style else [STYLESHEET]
    styles = "\n".join(_text(environment, name) for name in names)
    code = _text(environment, script) if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
    return environment.get_template(template).render(
        style=Markup(styles),  # noqa: S704 - our own files, without data
        script=Markup(code),  # noqa: S704 - our own file, without data
        script_source=f"; script-src 'sha256-{digest}'" if code else "",
        **data,
    )


def write_text(page: str, path: Path) -> int:
    """Write a page as UTF-8; returns its size in bytes."""
    # Text from outside may hold lone surrogates (undecodable file names), which UTF-8 has not.
    return path.write_bytes(page.encode("utf-8", errors="replace"))


def _text(environment: Environment, name: str) -> str:
    return environment.get_template(name).render()
