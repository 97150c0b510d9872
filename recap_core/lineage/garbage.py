"""Garbage collection: what would go and what that frees, and letting it go."""

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from recap_core.config.retention import RetentionConfig
from recap_core.errors import ArtifactError, ArtifactNotFoundError, StageLockedError
from recap_core.lineage.catalog import Catalog
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.files import remove_plain_tree
from recap_core.lineage.layout import Layout
from recap_core.lineage.leftovers import Leftover, age_of, files_below, leftovers
from recap_core.lineage.links import remove_tree
from recap_core.lineage.locks import claim, try_claim
from recap_core.lineage.manifest import Manifest, read_manifest
from recap_core.lineage.mounts import digest_cache_path
from recap_core.lineage.publish import Shelf
from recap_core.lineage.refs import Refs
from recap_core.lineage.removal import running_builds, take_away
from recap_core.lineage.retention import Facts, decide, needs
from recap_core.lineage.tombstones import removed_ids
from recap_core.lineage.uses import in_service, uses
from recap_core.lineage.wanted import ever_current, named_outside

_LOCK = "gc"


class Removal(NamedTuple):
    """An artifact that goes."""

    manifest: Manifest
    path: Path
    reason: str
    size_bytes: int
    """Of its files."""
    freed_bytes: int
    """Of files whose last name goes with it, after those that are listed before it."""
    used_ns: int | None
    """When it was last asked for, by the clock of the file system."""


class Swept(NamedTuple):
    """Something that is no artifact, and goes."""

    leftover: Leftover
    freed_bytes: int

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.leftover.path

    @property
    def what(self) -> str:
        """What it is."""
        return self.leftover.what


class Kept(NamedTuple):
    """An artifact that stays."""

    manifest: Manifest
    reason: str


class Plan(NamedTuple):
    """What garbage collection would do."""

    keep: list[Kept]
    remove: list[Removal]
    """Children before what they were made from."""
    retire: dict[str, str]
    """Refs that go, with the id that each points to: with it, or it went before (a kill)."""
    leftovers: list[Swept]
    refs: dict[str, str]
    """Artifact id by ref, when the plan was made."""

    @property
    def freed_bytes(self) -> int:
        """Bytes that the disk gets back."""
        return sum(item.freed_bytes for item in (*self.remove, *self.leftovers))


class Collected(NamedTuple):
    """What garbage collection did."""

    removed: list[Removal]
    spared: list[Kept]
    """Planned to go, but wanted by somebody since."""
    leftovers: list[Swept]

    @property
    def freed_bytes(self) -> int:
        """Bytes that the disk got back, if nothing was spared that shares files."""
        return sum(item.freed_bytes for item in (*self.removed, *self.leftovers))


class GarbageCollector:
    """Garbage collection of one store.

    Args:
        home: ``RECAP_HOME``.
        config: What to keep.
        projects: ``project/robot`` whose rounds may lose parts; None: all.
    """

    def __init__(
        self, home: Path, config: RetentionConfig, *, projects: Collection[str] | None = None
    ) -> None:
        self._layout = Layout(home.absolute())
        self._catalog = Catalog(self._layout)
        self._refs = Refs(self._layout)
        self._shelf = Shelf(
            self._layout, self._catalog, DigestCache(digest_cache_path(self._layout.home))
        )
        self._config = config
        self._projects = projects

    def plan(self) -> Plan:
        """What would go, and why the rest stays; nothing is changed.

        Raises:
            ArtifactError: If an artifact cannot be read, so that nobody knows what it needs.
            ConfigError: If a project's settings cannot be read.
        """
        found = {manifest.id: (path, manifest) for path, manifest in self._readable()}
        ordered = sorted(found.values(), key=lambda pair: (pair[1].finished_at, pair[1].id))
        manifests = {manifest.id: manifest for _, manifest in ordered}
        facts = self._facts(manifests)
        decision = decide(facts, self._config, projects=self._projects)
        freed = _Freed()
        return Plan(
            keep=[Kept(manifests[id_], why) for id_, why in decision.keep.items()],
            remove=[self._removal(*found[id_], why, freed) for id_, why in decision.remove.items()],
            retire=decision.retire,
            leftovers=[
                Swept(item, freed.by(item.path)[1])
                for item in leftovers(self._layout, self._config)
            ],
            refs=dict(facts.refs),
        )

    def carry_out(self, plan: Plan) -> Collected:
        """Let go what ``plan`` says, but for what somebody wants since.

        A kill at any instant leaves a store in which every artifact is whole; running it again
        goes on.

        Raises:
            StageLockedError: If something is being built in the store, or garbage collected.
        """
        lock = self._layout.lock(_LOCK)
        with claim(lock, timeout_s=0, subject="garbage collection"):
            self._refuse_while_building()
            removed, spared = self._remove(plan)
            self._retire_dangling(plan)
            swept = [item for item in plan.leftovers if self._sweep(item)]
        return Collected(removed, spared, swept)

    def _removal(self, path: Path, manifest: Manifest, why: str, freed: "_Freed") -> Removal:
        used_ns = self._catalog.last_used_ns(manifest.stage_key)
        return Removal(manifest, path, why, *freed.by(path), used_ns)

    def _readable(self) -> Iterator[tuple[Path, Manifest]]:
        """Every artifact; one that cannot be read may need any other."""
        for directory in self._catalog.directories():
            try:
                yield directory, read_manifest(directory)
            except ArtifactNotFoundError:
                continue  # removed since it was listed
            except ArtifactError as error:
                raise ArtifactError(
                    f"what {directory} needs is not known, so nothing can be removed: "
                    f"{str(error).removesuffix('.')}. Or move that directory out of the store."
                ) from error

    def _facts(self, manifests: dict[str, Manifest]) -> Facts:
        now = datetime.now(UTC)
        busy = (*running_builds(self._layout), *in_service(self._layout))
        in_use = {id_: f"{owner}" for owner in busy for id_ in owner.inputs}
        last_used = {id_: self._last_used(manifest) for id_, manifest in manifests.items()}
        refs = self._refs.all()
        return Facts(
            manifests,
            refs,
            last_used,
            in_use,
            now,
            ever_current=ever_current(self._layout),
            named=named_outside(self._layout, manifests),
            removed=removed_ids(self._layout),
            used_by_name=uses(self._layout),
        )

    def _last_used(self, manifest: Manifest) -> datetime:
        used_ns = self._catalog.last_used_ns(manifest.stage_key)
        if used_ns is None:
            return manifest.finished_at
        return max(manifest.finished_at, datetime.fromtimestamp(used_ns / 1e9, UTC))

    def _refuse_while_building(self) -> None:
        owners = list(running_builds(self._layout))
        if owners:
            raise StageLockedError(
                f"{self._layout.home} is in use: {len(owners)} stage(s) run now, the first on "
                f"{owners[0]}. Collect garbage when that run has ended, or end it; see what would "
                "go meanwhile with --dry-run."
            )

    def _remove(self, plan: Plan) -> tuple[list[Removal], list[Kept]]:
        manifests = {item.manifest.id: item.manifest for item in (*plan.keep, *plan.remove)}
        wanted: set[str] = set()
        seen: object = None
        removed: list[Removal] = []
        spared: list[Kept] = []
        for item in plan.remove:
            if seen != (seen := self._refs.stamp()):
                for ref, id_ in self._refs.all().items():
                    if plan.refs.get(ref) != id_:  # set since
                        needs(id_, manifests, seen=wanted)
            id_, why = item.manifest.id, "used since the plan was made"
            try:
                is_gone = id_ not in wanted and take_away(
                    item.path,
                    self._shelf,
                    reason=f"gc: {item.reason}",
                    is_wanted=lambda item=item: self._is_wanted(item),
                    on_gone=lambda id_=id_: self._retire(plan, id_),
                )
            except ArtifactNotFoundError:
                continue  # removed by hand meanwhile
            except (StageLockedError, PermissionError) as error:
                is_gone, why = False, _reason(error)
            if is_gone:
                removed.append(item)
            else:
                spared.append(Kept(item.manifest, why))
                needs(id_, manifests, seen=wanted)
        return removed, spared

    def _retire(self, plan: Plan, id_: str) -> None:
        """Remove the refs that go with an artifact, unless they point elsewhere now."""
        for ref, target in plan.retire.items():
            if target == id_:
                self._refs.remove(ref, target=id_)

    def _retire_dangling(self, plan: Plan) -> None:
        """Remove the refs that a collection left behind which was killed after the artifact."""
        going = {item.manifest.id for item in plan.remove}
        for id_ in {*plan.retire.values()} - going:
            self._retire(plan, id_)

    def _is_wanted(self, item: Removal) -> bool:
        """Whether it was asked for, named by a ref, or taken by a build since the plan was made."""
        if self._catalog.last_used_ns(item.manifest.stage_key) != item.used_ns:
            return True
        owners = (*running_builds(self._layout), *in_service(self._layout))
        return any(item.manifest.id in owner.inputs for owner in owners)

    def _sweep(self, item: Swept) -> bool:
        """Remove a leftover unless somebody has taken it up again."""
        if item.leftover.key is None:
            remove_plain_tree(item.path)
            return True
        held = try_claim(self._layout.lock(item.leftover.key))
        if held is None:
            return False
        try:
            if age_of(item.path) < timedelta(days=self._config.work_days):
                return False
            remove_tree(item.path, digests=self._shelf.digests)
        finally:
            held.release()
        return True


def _reason(error: StageLockedError | PermissionError) -> str:
    if isinstance(error, StageLockedError):
        return "it is being made again"
    return "it belongs to another user, who alone can remove it"


class _Freed:
    """Counts a file when its last name goes."""

    def __init__(self) -> None:
        self._names: Counter[tuple[int, int]] = Counter()

    def by(self, root: Path) -> tuple[int, int]:
        """(size of the files below ``root``, bytes freed if it goes after what went before)."""
        size = freed = 0
        for status in files_below(root):
            size += status.st_size
            file = (status.st_dev, status.st_ino)
            self._names[file] += 1
            if self._names[file] >= status.st_nlink:
                freed += status.st_size
        return size, freed
