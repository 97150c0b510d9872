"""The lineage over all rounds: one column per round, one lane per kind of artifact.

A round's own chain runs down its column. The policy that collected a round's recordings may be of
any earlier round: its line climbs beside its column to a rail above all lanes, follows it, and
comes down where the policy drove.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from markupsafe import Markup

from recap_core.reports.families import family_of
from recap_core.reports.lineage_graph import kind_text, short_id, shorten
from recap_core.reports.site_content import RoundGraph, RoundNode
from recap_core.reports.svg import Number, markup, node, number

BOX_WIDTH, BOX_HEIGHT = 128, 38
COLUMN, LANE = 154, 62
_HEAD = 44
_RAIL = 32
_NAME_CHARACTERS = 16
_RADIUS: Final = 7

type Address = Callable[[str], str]


class Round(NamedTuple):
    """A column's heading."""

    text: str
    address: str


def round_lineage(graph: RoundGraph, columns: Mapping[int, Round], address: Address) -> Markup:
    """Boxes and lines, of a fixed size; every box leads to its artifact's page.

    Args:
        graph: What to draw.
        columns: Heading by column.
        address: Of an artifact's page; empty text: a box without a link.
    """
    order = {column: i for i, column in enumerate(sorted(columns))}
    places = {n.id: (order[n.round_index], n.lane) for n in graph.nodes}
    by_id = {n.id: n for n in graph.nodes}
    lines = [_line(by_id[a], by_id[b], places) for a, b in graph.edges]
    boxes = [_box(n, places[n.id], address(n.id)) for n in graph.nodes]
    heads = [_head(order[column], head) for column, head in columns.items()]
    width = len(columns) * COLUMN
    height = graph_height(len(graph.lanes))
    return markup(
        node(
            "svg",
            *heads,
            *lines,
            *boxes,
            class_="lineage round-lineage",
            width=width,
            height=height,
            viewBox=f"0 0 {width} {height}",
            role="group",
            aria_label=f"Lineage over {len(columns)} columns, {len(graph.nodes)} artifacts",
        )
    )


def graph_height(num_lanes: int) -> int:
    """Pixels that so many lanes take."""
    return _HEAD + num_lanes * LANE


def lane_top(lane: int) -> int:
    """Where a lane's boxes begin, pixels down."""
    return _HEAD + lane * LANE


def _head(column: int, head: Round) -> ET.Element:
    x = column * COLUMN + COLUMN / 2
    text = node("text", head.text, class_="column-name", x=x, y=16, text_anchor="middle")
    return node("a", text, href=head.address) if head.address else text


def _box(artifact: RoundNode, place: tuple[int, int], address: str) -> ET.Element:
    left = place[0] * COLUMN + (COLUMN - BOX_WIDTH) / 2
    top = lane_top(place[1])
    words = f"{artifact.name}\n{kind_text(artifact.kind)}\n{artifact.id}"
    classes = f"artifact {family_of(artifact.kind)}"
    classes += " highlight" if artifact.highlight else " faded" if artifact.faded else ""
    shapes = (
        node("title", words),
        node("rect", class_="box", x=left, y=top, width=BOX_WIDTH, height=BOX_HEIGHT, rx=4),
        node("rect", class_="stripe", x=left, y=top, width=5, height=BOX_HEIGHT, rx=2),
        node(
            "text", shorten(artifact.name, _NAME_CHARACTERS), class_="name", x=left + 12, y=top + 16
        ),
        node("text", short_id(artifact.id), class_="kind", x=left + 12, y=top + 30),
    )
    if not address:
        return node("g", *shapes, class_=classes)
    return node("a", *shapes, href=address, class_=classes)


def _line(
    source: RoundNode, target: RoundNode, places: Mapping[str, tuple[int, int]]
) -> ET.Element:
    (column, lane), (end_column, end_lane) = places[source.id], places[target.id]
    x, end_x = (c * COLUMN + COLUMN / 2 for c in (column, end_column))
    top, bottom = lane_top(end_lane), lane_top(lane) + BOX_HEIGHT
    if column == end_column and end_lane > lane:
        path = f"M{number(x)},{bottom}V{top}" if end_lane == lane + 1 else _around(x, bottom, top)
    elif end_lane > lane and end_column == column + 1:
        middle = (x + end_x) / 2
        y = top - (LANE - BOX_HEIGHT) / 2
        path = (
            f"M{number(x)},{bottom}"
            + _corner(x, bottom, middle, y)
            + _corner(middle, y, end_x, top)
        )
    elif end_lane == lane and end_column == column + 1:
        y = top + BOX_HEIGHT / 2
        path = f"M{number(x + BOX_WIDTH / 2)},{number(y)}H{number(end_x - BOX_WIDTH / 2)}"
    else:
        path = _over_the_rail(x + BOX_WIDTH / 2, lane_top(lane) + BOX_HEIGHT / 2, end_x, top)
    words = f"{source.name} \N{RIGHTWARDS ARROW} {target.name}"
    return node("g", node("title", words), node("path", class_="edge", d=path), class_="arrow")


def _corner(x: Number, y: Number, end_x: Number, end_y: Number) -> str:
    middle = number((y + end_y) / 2)
    return f"C{number(x)},{middle} {number(end_x)},{middle} {number(end_x)},{number(end_y)}"


def _around(x: Number, bottom: Number, top: Number) -> str:
    """Past the boxes between, at the left of the column."""
    left = x - BOX_WIDTH / 2 - 5
    start, end = bottom + 4, top - 8
    return (
        f"M{number(x - 30)},{bottom}V{start}Q{number(x - 30)},{start + 4} {number(x - 36)},"
        f"{start + 4}H{number(left + 5)}Q{number(left)},{start + 4} {number(left)},{start + 9}"
        f"V{end - 5}Q{number(left)},{end} {number(left + 5)},{end}H{number(x - 36)}"
        f"Q{number(x - 30)},{end} {number(x - 30)},{end + 5}V{top}"
    )


def _over_the_rail(x: Number, y: Number, end_x: Number, end_y: Number) -> str:
    """Out to the right, up beside the column, along the rail, and down."""
    gutter = x + (COLUMN - BOX_WIDTH) / 2
    r = _RADIUS
    return (
        f"M{number(x)},{number(y)}H{number(gutter - r)}Q{number(gutter)},{number(y)} "
        f"{number(gutter)},{number(y - r)}V{_RAIL + r}Q{number(gutter)},{_RAIL} "
        f"{number(gutter + r)},{_RAIL}H{number(end_x - r)}Q{number(end_x)},{_RAIL} "
        f"{number(end_x)},{_RAIL + r}V{number(end_y)}"
    )
