"""A store's manifests and refs, read once, and every way from one artifact to others."""

from collections.abc import Iterable, Mapping
from functools import cached_property

from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.iterations import IterationRecord, records_among
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store


class Snapshot:
    """What a store held when it was looked at; it does not change with the store.

    Reading a thousand manifests takes a quarter of a second, so whoever asks several questions
    asks them of one snapshot.

    Args:
        store: What is read.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.manifests: dict[str, Manifest] = {m.id: m for m in store.artifacts()}
        """By id, oldest first."""
        self.removed: dict[str, Manifest] = {s.manifest.id: s.manifest for s in store.removed()}
        """Of artifacts that are no longer there, by id."""

    @cached_property
    def refs(self) -> dict[str, tuple[str, ...]]:
        """Refs that point to an artifact, by its id."""
        found: dict[str, list[str]] = {}
        for ref, id_ in self.store.refs().items():
            found.setdefault(id_, []).append(ref)
        return {id_: tuple(refs) for id_, refs in found.items()}

    @cached_property
    def rounds(self) -> list[IterationRecord]:
        """Finished rounds by project, robot, number and time."""
        return records_among(self.manifests.values())

    @cached_property
    def rounds_by_part(self) -> dict[str, list[tuple[IterationRecord, str]]]:
        """The rounds that an artifact was part of, and its role in each, by its id."""
        found: dict[str, list[tuple[IterationRecord, str]]] = {}
        for record in self.rounds:
            for parent in record.manifest.parents:
                found.setdefault(parent.id, []).append((record, parent.role))
        return found

    def artifact(self, id_: str | None) -> Artifact | None:
        """The typed handle of an artifact; None if it is not in the store."""
        manifest = self.manifests.get(id_ or "")
        return None if manifest is None else manifest.artifact()

    def parents(self, id_: str, role: str | None = None) -> list[str]:
        """Ids of what an artifact was made from, in that role; of any if None."""
        manifest = self.manifests.get(id_)
        parents = manifest.parents if manifest else ()
        return [parent.id for parent in parents if role in {None, parent.role}]

    def parent(self, id_: str | None, role: str) -> str | None:
        """Id of the one parent in a role; None if there is none, or the artifact is unknown."""
        return next(iter(self.parents(id_, role)), None) if id_ else None

    def children(self, id_: str, kind: str | None = None) -> list[Manifest]:
        """What was made from an artifact directly, oldest first."""
        ids = self._children.get(id_, ())
        children = (self.manifests[child] for child in ids if child in self.manifests)
        return [child for child in children if kind in {None, child.kind}]

    def ancestors(self, id_: str) -> list[Manifest]:
        """Everything an artifact was made from, directly or not, oldest first, without itself."""
        return self.in_order(self.reach(id_, self._parents))

    def descendants(self, id_: str) -> list[Manifest]:
        """Everything made from an artifact, directly or not, oldest first, without itself."""
        return self.in_order(self.reach(id_, self._children))

    def family(self, id_: str) -> set[str]:
        """Ids of an artifact, its ancestors (removed ones too) and its descendants."""
        return {id_} | self.reach(id_, self._parents) | self.reach(id_, self._children)

    def everything(self) -> set[str]:
        """Ids of all artifacts, and of removed ones that others were made from."""
        return set(self.manifests).union(*self._parents.values())

    def in_order(self, ids: Iterable[str]) -> list[Manifest]:
        """Manifests of those that are in the store, oldest first."""
        chosen = set(ids)
        return [manifest for id_, manifest in self.manifests.items() if id_ in chosen]

    @staticmethod
    def reach(start: str, following: Mapping[str, list[str]]) -> set[str]:
        """Ids that can be reached by one step or more."""
        seen: set[str] = set()
        waiting = list(following.get(start, ()))
        while waiting:
            id_ = waiting.pop()
            if id_ not in seen:
                seen.add(id_)
                waiting += following.get(id_, ())
        return seen

    @cached_property
    def _known(self) -> dict[str, Manifest]:
        """Removed ones too: the lineage goes on through them."""
        return self.removed | self.manifests

    @cached_property
    def _parents(self) -> dict[str, list[str]]:
        return {id_: [parent.id for parent in m.parents] for id_, m in self._known.items()}

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        children: dict[str, list[str]] = {}
        for id_, manifest in self._known.items():
            for parent in dict.fromkeys(parent.id for parent in manifest.parents):
                children.setdefault(parent, []).append(id_)
        return children
