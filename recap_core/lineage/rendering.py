"""Lineage graphs as text for a terminal and as mermaid for a browser."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from recap_core.lineage.ancestry import Graph, Node
from recap_core.lineage.manifest import Metric

_MAX_METRICS = 3


def render_text(  # noqa: PLR0913 - options are keyword-only
    graph: Graph,
    *,
    root: str | None = None,
    towards: Literal["parents", "children"] = "parents",
    fold: int | None = None,
    without: Collection[str] = (),
    ends: Collection[str] = (),
) -> str:
    """A tree with box characters, one artifact per line.

    An artifact that is reached twice is expanded the first time and marked after that.

    Args:
        graph: What to draw.
        root: Id to start from; None starts from every artifact that nothing leads on from.
        towards: Which way the tree grows: to what an artifact was made from, or to what was made
            from it.
        fold: Of more branches than this in one role, only the first and the last are drawn.
        without: Kinds that are left out, with what only they lead to.
        ends: Kinds that are drawn without what is behind them, unless they are the root.
    """
    tree = _Tree(graph, towards, fold, without)
    tree.cut(ends, keep=root)
    for id_ in [root] if root else tree.roots():
        tree.draw(id_)
    return "\n".join(tree.lines)


class _Branch(NamedTuple):
    """A node below another one, or what stands for several."""

    role: str
    id: str | None
    """None: ``text`` stands for branches that are not drawn."""
    text: str = ""


class _Tree:
    """A tree while it is drawn."""

    def __init__(
        self,
        graph: Graph,
        towards: Literal["parents", "children"],
        fold: int | None,
        without: Collection[str],
    ) -> None:
        self.lines: list[str] = []
        self._nodes = {node.id: node for node in graph.nodes}
        self._fold = fold
        self._shown: set[str] = set()
        self._branches: dict[str, list[_Branch]] = {id_: [] for id_ in self._nodes}
        for edge in graph.edges:
            start, end = edge.child, edge.parent
            if towards == "children":
                start, end = end, start
            if self._nodes[end].kind not in without:
                self._branches[start].append(_Branch(edge.role, end))

    def cut(self, ends: Collection[str], *, keep: str | None) -> None:
        """Let the tree end at artifacts of some kinds."""
        for id_, node in self._nodes.items():
            if node.kind in ends and id_ != keep:
                self._branches[id_] = []

    def roots(self) -> list[str]:
        """Nodes that no branch leads to."""
        inner = {branch.id for branches in self._branches.values() for branch in branches}
        return [id_ for id_ in self._nodes if id_ not in inner]

    def draw(self, id_: str, head: str = "", prefix: str = "") -> None:
        """Add the line of a node, and those of its branches unless they have been shown."""
        node, branches = self._nodes[id_], self._folded(self._branches[id_])
        if id_ in self._shown and branches:
            self.lines.append(f"{head}{node.kind} {node.label}  (expanded above)")
            return
        self._shown.add(id_)
        self.lines.append(head + _describe(node))
        for i, branch in enumerate(branches):
            is_last = i == len(branches) - 1
            corner, bar = ("└── ", "    ") if is_last else ("├── ", "│   ")
            if branch.id is None:
                self.lines.append(f"{prefix}{corner}{branch.role}: {branch.text}")
            else:
                self.draw(branch.id, f"{prefix}{corner}{branch.role}: ", prefix + bar)

    def _folded(self, branches: list[_Branch]) -> list[_Branch]:
        """The branches, those between the first and the last of a long run replaced by a line."""
        if self._fold is None:
            return branches
        folded: list[_Branch] = []
        for (role, kind), group in groupby(branches, key=self._sort):
            run = list(group)
            if len(run) > max(self._fold, 2):
                between = _Branch(role, None, f"... {len(run) - 2} more of kind {kind} ...")
                run = [run[0], between, run[-1]]
            folded += run
        return folded

    def _sort(self, branch: _Branch) -> tuple[str, str]:
        return branch.role, self._nodes[branch.id].kind if branch.id else ""


def _describe(node: Node) -> str:
    parts = [f"{node.kind} {node.label}"]
    if node.started_at and node.finished_at:
        took_s = (node.finished_at - node.started_at).total_seconds()
        parts.append(f"{node.stage}, {node.finished_at:%Y-%m-%d %H:%M}, {_duration(took_s)}")
    if node.metrics:
        parts.append(_metrics(node.metrics))
    if node.refs:
        parts.append(f"<- {short_refs(node.refs)}")
    return "  ".join(parts)


def short_refs(refs: Sequence[str], number: int = 3) -> str:
    """A few refs, those that are no round's first."""
    chosen = sorted(refs, key=lambda ref: ("/round-" in ref, ref))
    more = f" and {len(refs) - number} more" if len(refs) > number else ""
    return ", ".join(chosen[:number]) + more


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
