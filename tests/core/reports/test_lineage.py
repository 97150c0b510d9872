"""The layered graph: order, spacing, routes."""

from itertools import pairwise

import pytest

from recap_core.errors import ArtifactError
from recap_core.reports.content import IterationReport, LineageGraph
from recap_core.reports.lineage_graph import lineage_figure, shorten
from recap_core.reports.lineage_layout import NODE_WIDTH, layered_layout


def test_a_chain_is_a_straight_line_down() -> None:
    """Three nodes in a row share their x and descend."""
    layout = layered_layout(["a", "b", "c"], [("a", "b"), ("b", "c")])

    places = [layout.nodes[n] for n in "abc"]
    assert len({round(p.x, 6) for p in places}) == 1
    assert places[0].y < places[1].y < places[2].y


def test_a_node_stands_below_its_lowest_parent() -> None:
    """In a -> b -> c, a -> c, node c is in the third layer and the long edge has a waypoint."""
    layout = layered_layout(["a", "b", "c"], [("a", "c"), ("a", "b"), ("b", "c")])

    assert layout.nodes["c"].y > layout.nodes["b"].y
    long_edge = layout.routes[0]
    assert len(long_edge) == 3
    assert abs(long_edge[1].x - layout.nodes["b"].x) > NODE_WIDTH / 2


def test_two_chains_do_not_cross() -> None:
    """Nodes listed crosswise are sorted so that a -> c and b -> d run beside each other."""
    nodes = layered_layout(["a", "b", "d", "c"], [("a", "c"), ("b", "d")]).nodes

    assert (nodes["a"].x < nodes["b"].x) == (nodes["c"].x < nodes["d"].x)


def test_boxes_of_the_demo_never_overlap(report: IterationReport) -> None:
    """Boxes of one layer keep their distance; all lie inside the picture."""
    assert report.lineage is not None
    graph = report.lineage
    layout = layered_layout(
        [n.id for n in graph.nodes], [(e.source, e.target) for e in graph.edges]
    )

    layers: dict[float, list[float]] = {}
    for place in layout.nodes.values():
        layers.setdefault(place.y, []).append(place.x)
        assert NODE_WIDTH / 2 - 1e-6 <= place.x <= layout.width - NODE_WIDTH / 2 + 1e-6
    for row in layers.values():
        assert all(right - left >= NODE_WIDTH for left, right in pairwise(sorted(row)))


def test_every_arrow_points_down(report: IterationReport) -> None:
    """A parent is always above what was made from it."""
    assert report.lineage is not None
    graph = report.lineage
    nodes = layered_layout(
        [n.id for n in graph.nodes], [(e.source, e.target) for e in graph.edges]
    ).nodes

    assert all(nodes[e.source].y < nodes[e.target].y for e in graph.edges)


def test_pointing_at_a_box_tells_the_whole_id(report: IterationReport) -> None:
    """The box shows eight characters, its title all of them."""
    assert report.lineage is not None

    svg = lineage_figure(report.lineage)

    assert all(n.id in svg and n.id[:8] in svg for n in report.lineage.nodes)
    assert svg.count('class="arrow"') == len(report.lineage.edges)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([("a", "x")], "an edge to 'x', but no such node"),
        ([("a", "b"), ("b", "a")], "runs in a circle"),
    ],
)
def test_a_broken_graph_is_refused(edges: list[tuple[str, str]], message: str) -> None:
    """The error names what is wrong."""
    with pytest.raises(ArtifactError, match=message):
        layered_layout(["a", "b"], edges)


def test_an_empty_graph_is_an_empty_picture() -> None:
    """Nothing to lay out is not an error."""
    assert "<svg" in lineage_figure(LineageGraph(nodes=(), edges=()))


def test_a_long_name_loses_its_middle() -> None:
    """Beginning and end tell artifacts apart; 24 characters fit."""
    assert shorten("round1") == "round1"
    assert (
        shorten("round1-merged-relabeled-top20") == "round1-merged-re\N{HORIZONTAL ELLIPSIS}d-top20"
    )
    assert len(shorten("x" * 99)) == 24
