"""What an artifact was made from, what was made from it, and how to say so."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.files import walk
from recap_core.lineage.manifest import Manifest, Metric
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Store

REMOVED = "removed"
"""Kind of a node whose artifact is not in the store: removed, or never brought here."""


class Node(BaseModel):
    """One artifact of a graph."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str
    kind: str
    """Kind of the artifact, or ``removed`` if only its id is known, from its children."""
    name: str = ""
    stage: str = ""
    metrics: dict[str, Metric] = {}
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    refs: tuple[str, ...] = ()
    """Refs that point to it."""
    rounds: tuple[str, ...] = ()
    """Rounds that made it or took it: ``project/robot/round-<k>``."""

    @property
    def label(self) -> str:
        """``<name>-<id8>``, as its directory is called."""
        return f"{self.name}-{self.id[:8]}" if self.name else self.id[:8]


class Edge(BaseModel):
    """``child`` was made from ``parent``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parent: str
    child: str
    role: str


class Graph(BaseModel):
    """Artifacts and what was made from what, as plain data (``model_dump(mode="json")``)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    nodes: tuple[Node, ...]
    """Removed ones first, then oldest first."""
    edges: tuple[Edge, ...]


def ancestors(store: Store, artifact: Artifact) -> list[Manifest]:
    """Everything ``artifact`` was made from, directly or not, oldest first, without itself."""
    return Snapshot(store).ancestors(artifact.id)


def descendants(store: Store, artifact: Artifact) -> list[Manifest]:
    """Everything that was made from ``artifact``, directly or not, oldest first, without itself."""
    return Snapshot(store).descendants(artifact.id)


def lineage_graph(store: Store | Snapshot, artifact: Artifact | None = None) -> Graph:
    """Ancestors and descendants of ``artifact`` and itself; the whole store if it is None."""
    snapshot = store if isinstance(store, Snapshot) else Snapshot(store)
    chosen = snapshot.everything() if artifact is None else snapshot.family(artifact.id)
    known = snapshot.in_order(chosen)
    gone = sorted(chosen - set(snapshot.manifests))
    nodes = [_removed_node(id_, snapshot) for id_ in gone]
    nodes += [_node(manifest, snapshot) for manifest in known]
    edges = [
        Edge.model_construct(parent=parent.id, child=manifest.id, role=parent.role)
        for manifest in (
            *known,
            *(snapshot.removed[id_] for id_ in gone if id_ in snapshot.removed),
        )
        for parent in manifest.parents
        if parent.id in chosen
    ]
    return Graph(nodes=tuple(nodes), edges=tuple(edges))


def part_of_graph(graph: Graph, projects: Collection[str]) -> Graph:
    """What refs and rounds of some projects, ``project/robot`` each, point to or were made from."""
    parents: dict[str, list[str]] = {}
    for edge in graph.edges:
        parents.setdefault(edge.child, []).append(edge.parent)
    wanted = [
        node.id
        for node in graph.nodes
        if any(name.rpartition("/")[0] in projects for name in (*node.refs, *node.rounds))
    ]
    kept: set[str] = set()
    while wanted:
        id_ = wanted.pop()
        if id_ not in kept:
            kept.add(id_)
            wanted += parents.get(id_, [])
    return Graph(
        nodes=tuple(node for node in graph.nodes if node.id in kept),
        edges=tuple(edge for edge in graph.edges if {edge.parent, edge.child} <= kept),
    )


def explain(store: Store | Snapshot, artifact: Artifact) -> dict[str, Any]:
    """The facts about one artifact as plain JSON values.

    Besides its manifest: ``path``, ``refs`` that point to it, ``rounds`` that made it or took it,
    ``parents`` and ``children`` with role, kind and name, ``num_files``, ``size_bytes`` of its
    files and ``own_bytes`` of those it shares with nobody (what deleting it would free).
    """
    snapshot = store if isinstance(store, Snapshot) else Snapshot(store)
    manifest = snapshot.store.manifest(artifact)
    path = snapshot.store.path(artifact)
    return manifest.model_dump(mode="json") | {
        "path": str(path),
        "refs": list(snapshot.refs.get(artifact.id, ())),
        "rounds": list(_rounds(artifact.id, snapshot)),
        "parents": [_relative(p.role, p.id, snapshot) for p in manifest.parents],
        "children": [
            _relative(parent.role, child.id, snapshot)
            for child in snapshot.children(artifact.id)
            for parent in child.parents
            if parent.id == artifact.id
        ],
        **sizes(path),
    }


def sizes(path: Path) -> dict[str, int]:
    """``num_files``, ``size_bytes`` and ``own_bytes`` of the files below a directory."""
    files = [file.stat for file in walk(path).files]
    return {
        "num_files": len(files),
        "size_bytes": sum(file.st_size for file in files),
        "own_bytes": sum(file.st_size for file in files if file.st_nlink == 1),
    }


def _relative(role: str, artifact_id: str, snapshot: Snapshot) -> dict[str, str]:
    manifest = snapshot.manifests.get(artifact_id)
    gone = snapshot.removed.get(artifact_id)
    kind, name = (
        (manifest.kind, manifest.name) if manifest else (REMOVED, gone.name if gone else "")
    )
    return {"role": role, "id": artifact_id, "kind": kind, "name": name}


def _removed_node(id_: str, snapshot: Snapshot) -> Node:
    manifest = snapshot.removed.get(id_)
    if manifest is None:
        return Node(id=id_, kind=REMOVED)
    return Node(id=id_, kind=REMOVED, name=manifest.name, stage=manifest.stage)


def _node(manifest: Manifest, snapshot: Snapshot) -> Node:
    # Validated once already, when the manifest was read.
    return Node.model_construct(
        id=manifest.id,
        kind=manifest.kind,
        name=manifest.name,
        stage=manifest.stage,
        metrics=manifest.metrics,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        refs=snapshot.refs.get(manifest.id, ()),
        rounds=_rounds(manifest.id, snapshot),
    )


def _rounds(artifact_id: str, snapshot: Snapshot) -> tuple[str, ...]:
    records = (record for record, _ in snapshot.rounds_by_part.get(artifact_id, ()))
    return tuple(dict.fromkeys(record.label for record in records))
