"""What a round made, and what that was made from directly, as a graph that stays small."""

from collections.abc import Callable, Mapping, Set
from typing import NamedTuple

from recap_core.lineage.manifest import Manifest
from recap_core.reports.content import LineageEdge, LineageGraph, LineageNode

MAX_EARLIER = 3
"""Datasets of earlier rounds in the graph: the first, and the last ones; a round merges all."""


class SmallGraph(NamedTuple):
    """A graph, and what it leaves out."""

    graph: LineageGraph
    num_left_out: int
    """Datasets of earlier rounds."""


def round_graph(
    manifests: Mapping[str, Manifest],
    new: Set[str],
    *,
    highlight: str | None,
    address: Callable[[str], str],
) -> SmallGraph:
    """The graph of one round.

    Args:
        manifests: By id, oldest first; what is not among them is not drawn.
        new: Ids of what the round made.
        highlight: Id of what it is about.
        address: Where a box leads, by id.
    """
    # A report is made from nearly everything, and would cover the rest with its lines.
    made = {id_ for id_ in new if id_ in manifests and manifests[id_].kind != "report"}
    given = {p.id for id_ in made for p in manifests[id_].parents if p.id in manifests} - made
    datasets = [id_ for id_ in manifests if id_ in given and manifests[id_].kind == "dataset"]
    left_out = set(datasets[1 : 1 - MAX_EARLIER]) if len(datasets) > MAX_EARLIER else set[str]()
    ids = [id_ for id_ in manifests if id_ in (made | given) - left_out]
    shown = set(ids)
    graph = LineageGraph(
        nodes=tuple(
            LineageNode(
                id=id_,
                kind=manifests[id_].kind,
                name=manifests[id_].name,
                highlight=id_ == highlight,
                address=address(id_),
            )
            for id_ in ids
        ),
        edges=tuple(
            LineageEdge(source=parent.id, target=id_, role=parent.role)
            for id_ in ids
            if id_ in made
            for parent in manifests[id_].parents
            if parent.id in shown
        ),
    )
    return SmallGraph(graph, len(left_out))
