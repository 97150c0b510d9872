"""The lineage of an iteration as boxes and arrows."""

import itertools
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from markupsafe import Markup

from recap_core.reports.content import LineageEdge, LineageGraph, LineageNode
from recap_core.reports.families import family_of
from recap_core.reports.lineage_layout import (
    NODE_HEIGHT,
    NODE_WIDTH,
    Place,
    layered_layout,
)
from recap_core.reports.svg import markup, node, number

_MAX_NAME_CHARACTERS = 24
_ARROW = 6.0


def lineage_figure(graph: LineageGraph) -> Markup:
    """The graph from its sources (top) to what was made from them.

    Raises:
        ArtifactError: If an edge names an unknown node, or the edges run in a circle.
    """
    layout = layered_layout(
        [n.id for n in graph.nodes], [(e.source, e.target) for e in graph.edges]
    )
    names = {n.id: n.name for n in graph.nodes}
    arrows = [
        _arrow(edge, route, names) for edge, route in zip(graph.edges, layout.routes, strict=True)
    ]
    boxes = [_box(n, layout.nodes[n.id]) for n in graph.nodes]
    width, height = layout.width + 2, layout.height
    return markup(
        node(
            "svg",
            *arrows,
            *boxes,
            class_="lineage",
            width=width,
            height=height,
            viewBox=f"-1 0 {number(width)} {number(height)}",
            role="img",
            aria_label=f"Lineage: {len(graph.nodes)} artifacts; the table below lists them",
        )
    )


def short_id(artifact_id: str) -> str:
    """The first eight characters, as in directory names."""
    return artifact_id[:8]


def kind_text(kind: str) -> str:
    """``policy_checkpoint`` as ``policy checkpoint``."""
    return kind.replace("_", " ")


def shorten(name: str, most: int = _MAX_NAME_CHARACTERS) -> str:
    """``name`` with its middle cut out if it has more than ``most`` characters."""
    if len(name) <= most:
        return name
    head = most * 2 // 3
    tail = most - head - 1
    return f"{name[:head]}\N{HORIZONTAL ELLIPSIS}{name[-tail:]}"


def _box(artifact: LineageNode, place: Place) -> ET.Element:
    left, top = place.x - NODE_WIDTH / 2, place.y - NODE_HEIGHT / 2
    return node(
        "a" if artifact.address else "g",
        node("title", f"{artifact.name}\n{kind_text(artifact.kind)}\n{artifact.id}"),
        node(
            "rect",
            class_="box",
            x=left,
            y=top,
            width=NODE_WIDTH,
            height=NODE_HEIGHT,
            rx=4,
        ),
        node("rect", class_="stripe", x=left, y=top, width=5, height=NODE_HEIGHT, rx=2),
        node("text", shorten(artifact.name), class_="name", x=left + 14, y=top + 18),
        node(
            "text",
            f"{kind_text(artifact.kind)} \N{MIDDLE DOT} {short_id(artifact.id)}",
            class_="kind",
            x=left + 14,
            y=top + 33,
        ),
        class_=f"artifact {family_of(artifact.kind)}{' highlight' if artifact.highlight else ''}",
        **({"href": artifact.address} if artifact.address else {}),
    )


def _arrow(edge: LineageEdge, route: Sequence[Place], names: dict[str, str]) -> ET.Element:
    """A smooth line through the route's waypoints, vertical beside boxes, with a head."""
    end = Place(route[-1].x, route[-1].y - NODE_HEIGHT / 2)
    path = [f"M{number(route[0].x)},{number(route[0].y + NODE_HEIGHT / 2)}"]
    for here, there in itertools.pairwise(route):
        # It bends between the layers only, so that it clears the boxes beside a waypoint.
        bottom = there.y - NODE_HEIGHT / 2 - (_ARROW if there is route[-1] else 0)
        middle = number((here.y + there.y) / 2)
        path.append(
            f"C{number(here.x)},{middle} {number(there.x)},{middle} "
            f"{number(there.x)},{number(bottom)}"
        )
        if there is not route[-1]:
            path.append(f"V{number(there.y + NODE_HEIGHT / 2)}")
    head = (
        f"M{number(end.x)},{number(end.y)}"
        f"l{number(-_ARROW * 0.6)},{number(-_ARROW)}h{number(_ARROW * 1.2)}z"
    )
    title = f"{names[edge.source]} \N{RIGHTWARDS ARROW} {names[edge.target]}"
    return node(
        "g",
        node("title", f"{title}\n{edge.role}" if edge.role else title),
        node("path", class_="edge", d="".join(path)),
        node("path", class_="head", d=head),
        class_="arrow",
    )
