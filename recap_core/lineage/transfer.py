"""Artifacts from one store to another: out into a bundle, and in from one.

Both ways go on where they were interrupted, and trust no file before its digest is right.
"""

import io
import socket
import tarfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import xxhash

from recap_core.errors import (
    ArtifactError,
    ArtifactNotFoundError,
    CorruptArtifactError,
    DataError,
)
from recap_core.lineage.artifacts import KINDS, Artifact
from recap_core.lineage.atomic_file import atomic_file
from recap_core.lineage.bundles import (
    INDEX_FILE,
    BundledArtifact,
    BundledFile,
    BundleIndex,
    BundleSource,
    open_bundle,
    parse_index,
)
from recap_core.lineage.digests import content_digests, tree_digest
from recap_core.lineage.files import (
    make_read_only,
    remove_plain_tree,
    replace_file,
    sync,
    sync_all,
    walk,
)
from recap_core.lineage.layout import MANIFEST_FILE
from recap_core.lineage.links import link_file
from recap_core.lineage.locks import claim
from recap_core.lineage.manifest import Manifest, parse_manifest
from recap_core.lineage.publish import naming_disk_errors
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Store
from recap_core.progress import Bar, Progress, Silent

_BLOCK = 1 << 20
_PARTIAL = ".partial-"
_LOCK = ".bundle.lock"
_STEP = ".copying"


class Exported(NamedTuple):
    """What an export did."""

    contents: BundleIndex
    num_copied: int
    """Artifacts written now; the others were there already, and sound."""
    num_bytes: int
    """Bytes written now."""


class Imported(NamedTuple):
    """What an import did."""

    contents: BundleIndex
    new: tuple[Artifact, ...]
    known: tuple[Artifact, ...]
    """Those that the store had already."""
    num_bytes: int
    """Bytes written now; files that the store has are linked."""

    @property
    def roots(self) -> list[Artifact]:
        """What was asked for when the bundle was made."""
        return [a for a in (*self.new, *self.known) if a.id in self.contents.roots]


class _Copied(NamedTuple):
    digest: str
    size: int


def chosen_artifacts(
    snapshot: Snapshot, artifacts: Sequence[Artifact], *, with_ancestors: bool
) -> list[Manifest]:
    """What a bundle of ``artifacts`` holds, parents first; all of it is noted as used.

    Raises:
        ArtifactNotFoundError: If one is not in the store, or came after the snapshot.
    """
    ids = named = {artifact.id for artifact in artifacts}
    for artifact in artifacts:
        if artifact.id not in snapshot.manifests:
            raise ArtifactNotFoundError(
                f"{artifact.kind} {artifact.name}-{artifact.id[:8]} is not in "
                f"{snapshot.store.home}, or cannot be read. See what there is with: "
                "recap lineage graph"
            )
    if with_ancestors:
        ids = ids.union(*({m.id for m in snapshot.ancestors(id_)} for id_ in ids))
    chosen = snapshot.in_order(ids)
    for manifest in chosen:
        snapshot.store.use(manifest.artifact(), is_named=manifest.id in named)
    return chosen


def export_directory(
    snapshot: Snapshot,
    artifacts: Sequence[Artifact],
    target: Path,
    *,
    with_ancestors: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write artifacts into a directory; running it again goes on, and adds to what is there.

    Nothing in it is linked to the store. Files that several artifacts share are one file with
    several names, where the file system can do that.

    Raises:
        DataError: If the directory holds something else.
        CorruptArtifactError: If an artifact is damaged in the store.
    """
    target = target.absolute()
    with naming_disk_errors(target, subject="the export"):
        _check_target(target)
        target.mkdir(parents=True, exist_ok=True)
        with claim(target / _LOCK, timeout_s=0, subject=str(target)):
            earlier = _earlier(target)
            chosen = chosen_artifacts(snapshot, artifacts, with_ancestors=with_ancestors)
            index = _index(snapshot, artifacts, chosen, earlier)
            wanted = {manifest.id for manifest in chosen}
            entries = [entry for entry in index.artifacts if entry.id in wanted]
            total = sum(entry.num_bytes for entry in entries)
            with (progress or Silent()).bar("export", total) as bar:
                written = _write_all(snapshot.store, target, entries, bar)
            text = index.model_dump_json(indent=1) + "\n"
            step = target / f".{INDEX_FILE}"
            step.unlink(missing_ok=True)  # of a killed export
            replace_file(target / INDEX_FILE, text, temporary=step)
            (target / _LOCK).unlink(missing_ok=True)
    return Exported(index, *written)


def export_tar(  # noqa: PLR0913 - all but the first three by name
    snapshot: Snapshot,
    artifacts: Sequence[Artifact],
    target: Path,
    *,
    with_ancestors: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write artifacts into a tar file, which appears whole or not at all.

    Raises:
        DataError: If the file exists and may not be replaced.
        CorruptArtifactError: If an artifact is damaged in the store.
    """
    store = snapshot.store
    chosen = chosen_artifacts(snapshot, artifacts, with_ancestors=with_ancestors)
    index = _index(snapshot, artifacts, chosen, None)
    total = sum(entry.num_bytes for entry in index.artifacts)
    written: dict[str, str] = {}
    num_bytes = 0
    with (
        atomic_file(target, overwrite=overwrite) as draft,
        tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive,
        (progress or Silent()).bar("export", total) as bar,
    ):
        _add_text(archive, INDEX_FILE, index.model_dump_json(indent=1).encode() + b"\n")
        for entry in index.artifacts:
            source = _source(store, entry)
            for file in (entry.manifest, *entry.files):
                name = f"{entry.directory}/{file.path}"
                if file.size and file.digest in written:
                    _add_link(archive, name, written[file.digest])
                else:
                    _add_file(archive, name, source / file.path, file)
                    written[file.digest] = name
                    num_bytes += file.size
                bar.update(num_bytes, entry.name)
    return Exported(index, len(index.artifacts), num_bytes)


def import_bundle(
    source: Path,
    store: Store,
    *,
    progress: Progress | None = None,
    on_wait: Callable[[str], object] | None = None,
) -> Imported:
    """Publish the artifacts of a bundle that the store does not have, and note all as used.

    Everything that can be seen without reading the files is checked first. Each artifact then
    appears by one rename, parents first; running it again goes on after an interruption. What
    another process is bringing at the same time is waited for.

    Args:
        source: A bundle's directory or tar file.
        store: Where the artifacts go.
        progress: Who watches.
        on_wait: Told for whom this waits, if it does.

    Raises:
        DataError: If the bundle is damaged or not complete.
        ArtifactError: If an artifact cannot be published here.
    """
    with open_bundle(source) as bundle:
        problems = [p for entry in bundle.index.artifacts for p in bundle.problems(entry)]
        if problems:
            raise DataError(
                f"it is not complete or was changed: {problems[0]} "
                f"({len(problems)} such files). rsync goes on where a copy stopped"
            )
        manifests = [_manifest(bundle, entry) for entry in bundle.index.artifacts]
        total = sum(entry.num_bytes for entry in bundle.index.artifacts)
        known_files: dict[str, Path] = {}
        new: list[Artifact] = []
        known: list[Artifact] = []
        num_bytes = done = 0
        with (progress or Silent()).bar("import", total) as bar:
            for entry, manifest in zip(bundle.index.artifacts, manifests, strict=True):
                filling = _Filling(bundle, entry, store, known_files, bar, done)
                if not store.has(manifest):
                    store.adopt(manifest, filling.fill, on_wait=on_wait)
                if manifest.id in bundle.index.roots:
                    store.use(manifest.artifact())
                (new if filling.is_begun else known).append(manifest.artifact())
                num_bytes += filling.num_bytes
                done += entry.num_bytes
                bar.update(done, entry.name)
                place = store.path(manifest.artifact())
                known_files |= {file.digest: place / file.path for file in entry.files if file.size}
    return Imported(bundle.index, tuple(new), tuple(known), num_bytes)


class _Filling:
    """Brings the files of one artifact into a directory of this store."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it works on
        self,
        bundle: BundleSource,
        entry: BundledArtifact,
        store: Store,
        known: Mapping[str, Path],
        bar: Bar,
        done: int,
    ) -> None:
        self._bundle, self._entry, self._store, self._known = bundle, entry, store, known
        self._bar, self._done = bar, done
        self.num_bytes = 0
        self.is_begun = False

    def fill(self, directory: Path) -> None:
        """Copy or link what is not there yet, and remove what does not belong there."""
        self.is_begun = True
        listed = {file.path for file in self._entry.files}
        for found in walk(directory).files:
            if found.relative not in listed:
                found.path.unlink()
        for file in self._entry.files:
            path = directory / file.path
            if not _is_sound(path, file):
                path.unlink(missing_ok=True)
                self._bring(file, path)
            self._done += file.size
            self._bar.update(self._done, self._entry.name)

    def _bring(self, file: BundledFile, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.digest in self._known:
            self.num_bytes += link_file(self._known[file.digest], path, digests=self._store.digests)
            return
        with self._bundle.open(self._entry, file) as stream:
            copied = _copy(stream, path, limit=file.size)
        self.num_bytes += copied.size
        if copied != (file.digest, file.size):
            path.unlink()
            raise CorruptArtifactError(
                f"{file.path} of {self._entry.label} has digest {copied.digest} and "
                f"{copied.size} bytes, the bundle's index says {file.digest} and {file.size}: it "
                "was damaged on the way. Copy the bundle again."
            )


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file. Choose a directory, or a new name ending in .tar.")
    if not target.is_dir() or (target / INDEX_FILE).is_file():
        return
    ours = {"artifacts", _LOCK, f".{INDEX_FILE}"}
    others = [p.name for p in target.iterdir() if p.name not in ours and p.name[:9] != _PARTIAL]
    is_started = (target / _LOCK).exists()
    if others or (any(target.iterdir()) and not is_started):
        raise DataError(
            f"{target} is not empty and no bundle ({', '.join(others[:3]) or 'artifacts'}). Choose "
            "a new directory."
        )


def _earlier(target: Path) -> BundleIndex | None:
    """What is in the bundle already."""
    path = target / INDEX_FILE
    if not path.is_file():
        return None
    try:
        return parse_index(path.read_bytes())
    except DataError as error:
        raise DataError(f"{path}: {error}. Remove the bundle, and export it again.") from error


def _index(
    snapshot: Snapshot,
    artifacts: Sequence[Artifact],
    chosen: Sequence[Manifest],
    earlier: BundleIndex | None,
) -> BundleIndex:
    entries = {entry.id: entry for entry in (earlier.artifacts if earlier else ())}
    entries |= {m.id: _entry(snapshot.store, m) for m in chosen if m.id not in entries}
    roots = dict.fromkeys((*(earlier.roots if earlier else ()), *(a.id for a in artifacts)))
    parents = {id_: snapshot.parents(id_) for id_ in entries}
    refs = {ref: id_ for id_ in entries for ref in snapshot.refs.get(id_, ())}
    everything = [parent for ids in parents.values() for parent in ids]
    order = [m.id for m in snapshot.in_order(entries)]
    order += [id_ for id_ in entries if id_ not in order]
    return BundleIndex(
        host=socket.gethostname(),
        written_at=datetime.now(UTC),
        roots=tuple(roots),
        refs=(earlier.refs if earlier else {}) | refs,
        elsewhere=tuple(dict.fromkeys(id_ for id_ in everything if id_ not in entries)),
        artifacts=tuple(entries[id_] for id_ in order),
    ).sealed()


def _entry(store: Store, manifest: Manifest) -> BundledArtifact:
    """An artifact that has been verified, with the digest of each of its files."""
    artifact = manifest.artifact()
    store.verify(artifact)
    files = walk(store.path(artifact)).files
    digests = content_digests([file.path for file in files], store.digests)
    listed = {
        file.relative: BundledFile(path=file.relative, size=file.stat.st_size, digest=digest)
        for file, digest in zip(files, digests, strict=True)
    }
    return BundledArtifact(
        kind=manifest.kind,
        name=manifest.name,
        id=manifest.id,
        stage_key=manifest.stage_key,
        digest=manifest.digest,
        manifest=listed.pop(MANIFEST_FILE),
        files=tuple(listed.values()),
    )


def _source(store: Store, entry: BundledArtifact) -> Path:
    return store.home / "artifacts" / KINDS[entry.kind].directory / f"{entry.name}-{entry.id[:8]}"


def _write_all(
    store: Store, target: Path, entries: Sequence[BundledArtifact], bar: Bar
) -> tuple[int, int]:
    """Artifacts and bytes written; those that are there and sound are left as they are."""
    known: dict[str, Path] = {}
    num_artifacts = num_bytes = done = 0
    for entry in entries:
        place = target / entry.directory
        if not _is_there(place, entry):
            remove_plain_tree(place)
            num_bytes += _write(_source(store, entry), place, entry, known)
            num_artifacts += 1
        known |= {file.digest: place / file.path for file in entry.files if file.size}
        done += entry.num_bytes
        bar.update(done, entry.name)
    return num_artifacts, num_bytes


def _is_there(place: Path, entry: BundledArtifact) -> bool:
    """Whether an artifact is in the bundle, every byte of it."""
    if not place.is_dir() or not _is_sound(place / MANIFEST_FILE, entry.manifest):
        return False
    try:
        return tree_digest(place, None) == entry.digest
    except ArtifactError:
        return False


def _write(
    source: Path, place: Path, entry: BundledArtifact, known: Mapping[str, Path]
) -> int:  # fmt: skip
    draft = place.parents[2] / f"{_PARTIAL}{entry.id}"
    num_bytes = 0
    for file in (*entry.files, entry.manifest):
        path = draft / file.path
        if _is_sound(path, file):
            continue
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.digest in known:
            num_bytes += link_file(known[file.digest], path, digests=None)
            continue
        with (source / file.path).open("rb") as stream:
            copied = _copy(stream, path, limit=file.size)
        num_bytes += copied.size
        if copied != (file.digest, file.size):
            raise CorruptArtifactError(
                f"{source / file.path} changed while it was copied. Export it again."
            )
        make_read_only(path, path.stat().st_mode)
    listed = {file.path for file in (*entry.files, entry.manifest)}
    for found in walk(draft).files:
        if found.relative not in listed:
            found.path.unlink()  # the half of a file that an interrupted export left
    tree = walk(draft)
    sync_all([file.path for file in tree.files])
    for directory in tree.directories:
        sync(directory)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft.rename(place)
    sync(place.parent)
    return num_bytes


def _is_sound(path: Path, file: BundledFile) -> bool:
    """Whether a file is there, byte for byte."""
    if not path.is_file() or path.is_symlink() or path.stat().st_size != file.size:
        return False
    return content_digests([path], None)[0] == file.digest


def _copy(stream: io.BufferedReader, path: Path, *, limit: int) -> _Copied:
    """Copy at most one byte more than ``limit``, under another name until all of it is there."""
    digest, size = xxhash.xxh3_128(), 0
    step = path.with_name(f"{path.name[:200]}{_STEP}")
    with step.open("wb") as writer:
        while block := stream.read(min(_BLOCK, limit + 1 - size)):
            digest.update(block)
            writer.write(block)
            size += len(block)
    step.rename(path)
    return _Copied(digest.hexdigest(), size)


def _manifest(bundle: BundleSource, entry: BundledArtifact) -> Manifest:
    """The manifest of an artifact in a bundle, and nobody else's."""
    with bundle.open(entry, entry.manifest) as stream:
        text = stream.read(entry.manifest.size + 1)
    if xxhash.xxh3_128_hexdigest(text) != entry.manifest.digest:
        raise DataError(f"the manifest of {entry.label} is damaged")
    where = Path(entry.directory) / MANIFEST_FILE
    manifest = parse_manifest(text.decode("utf-8", errors="replace"), where=where)
    said = (manifest.kind, manifest.name, manifest.id, manifest.stage_key, manifest.digest)
    listed = (entry.kind, entry.name, entry.id, entry.stage_key, entry.digest)
    if said != listed:
        raise DataError(f"the manifest of {entry.label} is that of another artifact")
    manifest.artifact()  # what this version does not know is refused before anything is written
    return manifest


def _add_text(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = _member(name, len(content))
    archive.addfile(member, io.BytesIO(content))


def _add_file(archive: tarfile.TarFile, name: str, path: Path, file: BundledFile) -> None:
    with path.open("rb") as stream:
        archive.addfile(_member(name, file.size), stream)


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    member = _member(name, 0)
    member.type, member.linkname = tarfile.LNKTYPE, target
    archive.addfile(member)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o444
    return member
