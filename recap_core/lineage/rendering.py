"""Lineage graphs as text for a terminal and as mermaid for a browser."""

from collections.abc import Mapping
from typing import Literal

from recap_core.lineage.ancestry import Graph, Node
from recap_core.lineage.manifest import Metric

_MAX_METRICS = 3


def render_text(
    graph: Graph, *, root: str | None = None, towards: Literal["parents", "children"] = "parents"
) -> str:
    """A tree with box characters, one artifact per line.

    An artifact that is reached twice is expanded the first time and marked after that.

    Args:
        graph: What to draw.
        root: Id to start from; None starts from every artifact that nothing leads on from.
        towards: Which way the tree grows: to what an artifact was made from, or to what was made
            from it.
    """
    tree = _Tree(graph, towards)
    for id_ in [root] if root else tree.roots():
        tree.draw(id_)
    return "\n".join(tree.lines)


class _Tree:
    """A tree while it is drawn."""

    def __init__(self, graph: Graph, towards: Literal["parents", "children"]) -> None:
        self.lines: list[str] = []
        self._nodes = {node.id: node for node in graph.nodes}
        self._shown: set[str] = set()
        self._branches: dict[str, list[tuple[str, str]]] = {id_: [] for id_ in self._nodes}
        for edge in graph.edges:
            start, end = edge.child, edge.parent
            if towards == "children":
                start, end = end, start
            self._branches[start].append((edge.role, end))

    def roots(self) -> list[str]:
        """Nodes that no branch leads to."""
        inner = {end for branches in self._branches.values() for _, end in branches}
        return [id_ for id_ in self._nodes if id_ not in inner]

    def draw(self, id_: str, head: str = "", prefix: str = "") -> None:
        """Add the line of a node, and those of its branches unless they have been shown."""
        node, branches = self._nodes[id_], self._branches[id_]
        if id_ in self._shown and branches:
            self.lines.append(f"{head}{node.kind} {node.label}  (expanded above)")
            return
        self._shown.add(id_)
        self.lines.append(head + _describe(node))
        for i, (role, end) in enumerate(branches):
            is_last = i == len(branches) - 1
            corner, bar = ("└── ", "    ") if is_last else ("├── ", "│   ")
            self.draw(end, f"{prefix}{corner}{role}: ", prefix + bar)


def _describe(node: Node) -> str:
    parts = [f"{node.kind} {node.label}"]
    if node.started_at and node.finished_at:
        took_s = (node.finished_at - node.started_at).total_seconds()
        parts.append(f"{node.stage}, {node.finished_at:%Y-%m-%d %H:%M}, {_duration(took_s)}")
    if node.metrics:
        parts.append(_metrics(node.metrics))
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _metrics(metrics: Mapping[str, Metric]) -> str:
    shown = list(metrics.items())[:_MAX_METRICS]
    return " ".join(f"{k}={'-' if v is None else format(v, '.4g')}" for k, v in shown)


def render_mermaid(graph: Graph) -> str:
    """A mermaid flow chart, parents to the left of their children."""
    lines = ["flowchart LR"]
    for node in graph.nodes:
        parts = [node.kind, node.label]
        if node.metrics:
            parts.append(_metrics(node.metrics))
        label = "<br/>".join(_escape(part) for part in parts)
        lines.append(f'    n{node.id}["{label}"]')
    lines += [f'    n{e.parent} -->|"{_escape(e.role)}"| n{e.child}' for e in graph.edges]
    return "\n".join(lines)


def _escape(text: str) -> str:
    return text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;")
