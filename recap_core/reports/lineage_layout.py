"""Places for the nodes and edges of a layered graph (after Sugiyama).

Nodes go to the layer below their lowest parent. An edge over several layers gets a waypoint in
each layer between, so that it never runs through a node. Layers are ordered by the mean position
of their neighbours to avoid crossings, then moved as near to their neighbours as the order and the
spacing allow. Equal input gives equal places.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from recap_core.errors import ArtifactError

NODE_WIDTH = 204.0
NODE_HEIGHT = 42.0
_LAYER_STEP = 82.0
_GAP = 18.0
_WAYPOINT_WIDTH = 10.0
_NUM_ORDER_SWEEPS = 12
_NUM_POSITION_SWEEPS = 60


class Place(NamedTuple):
    """Centre of a node, or a waypoint of an edge, in pixels."""

    x: float
    y: float


class Layout(NamedTuple):
    """Where everything goes."""

    nodes: Mapping[str, Place]
    routes: Sequence[Sequence[Place]]
    """For every edge, in the order given: source, waypoints, target."""
    width: float
    height: float


def layered_layout(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Layout:
    """Lay out a graph from top (sources) to bottom.

    Args:
        nodes: Ids; their order breaks ties.
        edges: (source, target) ids.

    Raises:
        ArtifactError: If an edge names an unknown node, or the edges run in a circle.
    """
    if not nodes:
        return Layout({}, [], 0, 0)
    layer_of = _assign_layers(nodes, edges)
    layers: list[list[str]] = [[] for _ in range(max(layer_of.values()) + 1)]
    for name in nodes:
        layers[layer_of[name]].append(name)
    routes: list[list[str]] = []
    links: list[tuple[str, str]] = []
    for i, (source, target) in enumerate(edges):
        # A waypoint's name cannot be an id: ids are among ``nodes`` and hold no tab.
        between = [f"{i}\t{layer}" for layer in range(layer_of[source] + 1, layer_of[target])]
        for offset, waypoint in enumerate(between, start=1):
            layers[layer_of[source] + offset].append(waypoint)
        route = [source, *between, target]
        routes.append(route)
        links += itertools.pairwise(route)
    neighbours = _neighbours(links)
    _order(layers, neighbours)
    x = _positions(layers, neighbours)
    left = min(x[name] - _width(name) / 2 for name in x)
    right = max(x[name] + _width(name) / 2 for name in x)
    places = {
        name: Place(x[name] - left, NODE_HEIGHT / 2 + 1 + depth * _LAYER_STEP)
        for depth, layer in enumerate(layers)
        for name in layer
    }
    return Layout(
        nodes={name: places[name] for name in nodes},
        routes=[[places[name] for name in route] for route in routes],
        width=right - left,
        height=(len(layers) - 1) * _LAYER_STEP + NODE_HEIGHT + 2,
    )


def _assign_layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Longest distance from a source."""
    layer_of = dict.fromkeys(nodes, 0)
    for source, target in edges:
        if source not in layer_of or target not in layer_of:
            missing = source if source not in layer_of else target
            raise ArtifactError(f"the lineage graph has an edge to {missing!r}, but no such node")
    for _ in nodes:
        changed = False
        for source, target in edges:
            if layer_of[target] <= layer_of[source]:
                layer_of[target] = layer_of[source] + 1
                changed = True
        if not changed:
            return layer_of
    raise ArtifactError("the lineage graph runs in a circle; manifests cannot have made it")


def _neighbours(links: Sequence[tuple[str, str]]) -> dict[str, tuple[list[str], list[str]]]:
    """(above, below) of every node and waypoint."""
    neighbours: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for source, target in links:
        neighbours[source][1].append(target)
        neighbours[target][0].append(source)
    return neighbours


def _order(layers: list[list[str]], neighbours: Mapping[str, tuple[list[str], list[str]]]) -> None:
    """Sort every layer in place, by the mean rank of its neighbours, as crossings go down."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers, neighbours)
    for sweep in range(_NUM_ORDER_SWEEPS):
        downwards = sweep % 2 == 0
        side = 0 if downwards else 1
        for depth in range(len(layers)) if downwards else reversed(range(len(layers))):
            fixed = depth - 1 if downwards else depth + 1
            if not 0 <= fixed < len(layers):
                continue
            rank = {name: i for i, name in enumerate(layers[fixed])}
            near = {name: [rank[n] for n in neighbours[name][side]] for name in layers[depth]}
            # A node without neighbours on that side stays where it is.
            means = {
                name: sum(ranks) / len(ranks) if ranks else float(i)
                for i, (name, ranks) in enumerate(near.items())
            }
            layers[depth].sort(key=means.__getitem__)
        crossings = _crossings(layers, neighbours)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _crossings(
    layers: Sequence[Sequence[str]], neighbours: Mapping[str, tuple[list[str], list[str]]]
) -> int:
    total = 0
    for upper, lower in itertools.pairwise(layers):
        rank = {name: i for i, name in enumerate(lower)}
        ends = [sorted(rank[n] for n in neighbours[name][1]) for name in upper]
        flat = np.array([e for near in ends for e in near])
        total += sum(int((flat[:i] > end).sum()) for i, end in enumerate(flat))
        # Edges of one source do not cross each other; sorted above, they count zero.
    return total


def _width(name: str) -> float:
    return _WAYPOINT_WIDTH if "\t" in name else NODE_WIDTH


def _positions(
    layers: Sequence[Sequence[str]], neighbours: Mapping[str, tuple[list[str], list[str]]]
) -> dict[str, float]:
    """The x of every node: least squares to its neighbours' mean, in order and with a gap."""
    x: dict[str, float] = {}
    for layer in layers:
        offsets = _offsets(layer)
        for name, offset in zip(layer, offsets - offsets.mean(), strict=True):
            x[name] = float(offset)
    for sweep in range(_NUM_POSITION_SWEEPS):
        ordered = layers if sweep % 2 == 0 else list(reversed(layers))
        for layer in ordered:
            wanted = np.array([_wanted(name, x, neighbours[name]) for name in layer])
            for name, value in zip(layer, _spread(layer, wanted), strict=True):
                x[name] = float(value)
    return x


def _wanted(name: str, x: Mapping[str, float], near: tuple[list[str], list[str]]) -> float:
    """Mean x of the neighbours; a link between two waypoints pulls hardest, to run straight."""
    names = [*near[0], *near[1]]
    if not names:
        return x[name]
    pulls = [(1, 2, 8)[("\t" in name) + ("\t" in n)] for n in names]
    return sum(p * x[n] for p, n in zip(pulls, names, strict=True)) / sum(pulls)


def _offsets(layer: Sequence[str]) -> np.ndarray:
    """Smallest distances of a layer's members from its first."""
    widths = np.array([_width(name) for name in layer])
    steps = (widths[:-1] + widths[1:]) / 2 + _GAP
    return np.concatenate([[0.0], np.cumsum(steps)])


def _spread(layer: Sequence[str], wanted: np.ndarray) -> np.ndarray:
    """Positions nearest to ``wanted`` that keep order and spacing.

    With the smallest distances taken off, that is an isotonic regression. Waypoints weigh more,
    so that long edges run straight.
    """
    from scipy.optimize import isotonic_regression

    offsets = _offsets(layer)
    weights = np.array([4.0 if "\t" in name else 1.0 for name in layer])
    return isotonic_regression(wanted - offsets, weights=weights).x + offsets
