"""What an artifact was made from, what was made from it, and how to say so."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.files import walk
from recap_core.lineage.manifest import Manifest, Metric
from recap_core.lineage.store import Store

REMOVED = "removed"
"""Kind of a node whose artifact is no longer in the store."""


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
    manifests = _by_id(store)
    return _in_order(manifests, _reachable(artifact.id, _parent_ids(manifests)))


def descendants(store: Store, artifact: Artifact) -> list[Manifest]:
    """Everything that was made from ``artifact``, directly or not, oldest first, without itself."""
    manifests = _by_id(store)
    return _in_order(manifests, _reachable(artifact.id, _child_ids(manifests)))


def lineage_graph(store: Store, artifact: Artifact | None = None) -> Graph:
    """Ancestors and descendants of ``artifact`` and itself; the whole store if it is None."""
    manifests = _by_id(store)
    parents = _parent_ids(manifests)
    if artifact is None:
        chosen = set(manifests).union(*parents.values())
    else:
        chosen = {artifact.id}
        chosen |= _reachable(artifact.id, parents)
        chosen |= _reachable(artifact.id, _child_ids(manifests))
    nodes = [Node(id=id_, kind=REMOVED) for id_ in sorted(chosen - set(manifests))]
    nodes += [_node(manifest) for manifest in _in_order(manifests, chosen)]
    edges = [
        Edge(parent=parent.id, child=manifest.id, role=parent.role)
        for manifest in _in_order(manifests, chosen)
        for parent in manifest.parents
        if parent.id in chosen
    ]
    return Graph(nodes=tuple(nodes), edges=tuple(edges))


def explain(store: Store, artifact: Artifact) -> dict[str, Any]:
    """The facts about one artifact as plain JSON values.

    Besides its manifest: ``path``, ``refs`` that point to it, ``parents`` and ``children`` with
    role, kind and name, ``num_files``, ``size_bytes`` of its files and ``own_bytes`` of those it
    shares with nobody (what deleting it would free).
    """
    manifest = store.manifest(artifact)
    manifests = _by_id(store)
    path = store.path(artifact)
    files = [file.stat for file in walk(path).files]
    return manifest.model_dump(mode="json") | {
        "path": str(path),
        "refs": [ref for ref, id_ in store.refs().items() if id_ == artifact.id],
        "parents": [_relative(p.role, p.id, manifests.get(p.id)) for p in manifest.parents],
        "children": [
            _relative(parent.role, child.id, child)
            for child in manifests.values()
            for parent in child.parents
            if parent.id == artifact.id
        ],
        "num_files": len(files),
        "size_bytes": sum(file.st_size for file in files),
        "own_bytes": sum(file.st_size for file in files if file.st_nlink == 1),
    }


def _relative(role: str, artifact_id: str, manifest: Manifest | None) -> dict[str, str]:
    kind, name = (manifest.kind, manifest.name) if manifest else (REMOVED, "")
    return {"role": role, "id": artifact_id, "kind": kind, "name": name}


def _node(manifest: Manifest) -> Node:
    fields = set(Node.model_fields)
    return Node(**manifest.model_dump(include=fields))


def _by_id(store: Store) -> dict[str, Manifest]:
    return {manifest.id: manifest for manifest in store.artifacts()}


def _in_order(manifests: Mapping[str, Manifest], ids: Iterable[str]) -> list[Manifest]:
    chosen = set(ids)
    return [manifest for id_, manifest in manifests.items() if id_ in chosen]


def _parent_ids(manifests: Mapping[str, Manifest]) -> dict[str, list[str]]:
    return {id_: [parent.id for parent in m.parents] for id_, m in manifests.items()}


def _child_ids(manifests: Mapping[str, Manifest]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    for id_, manifest in manifests.items():
        for parent in manifest.parents:
            children.setdefault(parent.id, []).append(id_)
    return children


def _reachable(start: str, following: Mapping[str, list[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(following.get(start, ()))
    while waiting:
        id_ = waiting.pop()
        if id_ not in seen:
            seen.add(id_)
            waiting += following.get(id_, ())
    return seen
