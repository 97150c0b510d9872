"""From a filled directory to a published artifact, in one rename.

Order: files read-only and on the disk, digest, manifest, index entry, rename, root read-only. A
kill before the rename leaves a draft, which is swept; a kill after it leaves the artifact.
"""

import errno
import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from recap_core.errors import ArtifactError, CorruptArtifactError
from recap_core.lineage.catalog import Catalog
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.digests import tree_digest
from recap_core.lineage.files import make_read_only, remove_plain_tree, sync, sync_all, walk
from recap_core.lineage.keys import artifact_id
from recap_core.lineage.layout import MANIFEST_FILE, Layout
from recap_core.lineage.links import remove_tree
from recap_core.lineage.locks import try_claim
from recap_core.lineage.manifest import Manifest, read_manifest

_log = logging.getLogger(__name__)

_SMALL_FILE_AGE_S = 3600
"""A small file is written in milliseconds; one this old was left behind by a kill."""


class Shelf(NamedTuple):
    """The parts of a store that publishing works on."""

    layout: Layout
    catalog: Catalog
    digests: DigestCache


def seal(draft: Path, shelf: Shelf, *, subject: str) -> str:
    """Make a filled draft durable and read-only, all but its root, and return its digest.

    Raises:
        ArtifactError: If it is empty, holds a manifest already, or symbolic links.
    """
    if not draft.is_dir():
        raise ArtifactError(f"{subject} removed its output directory, or replaced it by a file")
    tree = walk(draft)
    if not tree.files:
        raise ArtifactError(f"{subject} left its output empty; it must write at least one file")
    if any(file.relative == MANIFEST_FILE for file in tree.files):
        raise ArtifactError(f"{subject} wrote {MANIFEST_FILE}, which is the store's own file")
    for file in tree.files:
        make_read_only(file.path, file.stat.st_mode)
    sync_all([file.path for file in tree.files])
    return tree_digest(draft, shelf.digests)


def publish(draft: Path, manifest: Manifest, *, directory: str, shelf: Shelf) -> Manifest:
    """Add the manifest to a sealed draft and move it to its place.

    The caller holds the stage key's lock.

    Returns:
        The manifest that is in place: the one given, or that of the same artifact if it had been
        published before, and its index entry was lost or it was made anew.

    Raises:
        ArtifactError: If another artifact has the same name and the same first 8 digits of its id.
    """
    path = draft / MANIFEST_FILE
    path.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    make_read_only(path, path.stat().st_mode)
    sync(path)
    for inner in walk(draft).directories:
        sync(inner)
        if inner != draft:
            make_read_only(inner, inner.stat().st_mode)
    target = _place(manifest, directory, shelf)
    target.parent.mkdir(parents=True, exist_ok=True)
    shelf.catalog.record(manifest.stage_key, target)
    existing = _existing(target, manifest, shelf)
    if existing is not None:
        return existing
    draft.rename(target)
    for outer in (target.parent, shelf.layout.artifacts, shelf.layout.home):
        sync(outer)
    return manifest


def _place(manifest: Manifest, directory: str, shelf: Shelf) -> Path:
    """Where an artifact goes: where it is already, if it was published under another name."""
    named = shelf.layout.artifact(directory, manifest.name, manifest.id)
    for twin in sorted(named.parent.glob(f"*-{manifest.id[:8]}")):
        if twin != named and read_manifest(twin).id == manifest.id:
            return twin
    return named


def _existing(target: Path, manifest: Manifest, shelf: Shelf) -> Manifest | None:
    """The same artifact, if it is in place and sound; a damaged one is moved aside."""
    if not target.exists():
        return None
    try:
        existing = verify(target, shelf)
    except CorruptArtifactError as error:
        move_aside(target, shelf, reason=str(error))
        return None
    if existing.id != manifest.id:
        raise ArtifactError(
            f"{target.name} exists with id {existing.id}, and the new artifact's id "
            f"{manifest.id} starts with the same 8 digits; choose another name"
        )
    return existing


def verify(directory: Path, shelf: Shelf) -> Manifest:
    """Manifest of an artifact whose content matches it.

    Unchanged files are not read again (digest cache). A mismatch is confirmed by reading every
    file, so a wrong cache cannot condemn a sound artifact.

    Raises:
        ArtifactNotFoundError: If the directory does not exist, or was taken away meanwhile.
        CorruptArtifactError: If content and manifest differ.
        ArtifactError: If the manifest was written by a newer version of recap.
    """
    manifest = read_manifest(directory)
    if artifact_id(manifest.kind, manifest.stage_key, manifest.digest) != manifest.id:
        raise CorruptArtifactError(
            f"the manifest of {directory} does not hash to its own id {manifest.id}; it was edited"
        )
    found = ""
    for trust_cache in (True, False):
        found = _digest_or_reason(directory, shelf, trust_cache=trust_cache)
        if found == manifest.digest:
            return manifest
        read_manifest(directory)  # raises if all of it was taken away while it was read
    raise CorruptArtifactError(
        f"content of {manifest.kind} {manifest.name}-{manifest.id[:8]} has digest {found}, its "
        f"manifest says {manifest.digest}: a file in {directory} was changed, added or "
        "removed. Run the stage that made it again; the store moves the damaged one aside."
    )


def _digest_or_reason(directory: Path, shelf: Shelf, *, trust_cache: bool) -> str:
    try:
        return tree_digest(directory, shelf.digests, trust_cache=trust_cache)
    except (ArtifactError, OSError) as error:
        return f"none ({error})"


def move_aside(directory: Path, shelf: Shelf, *, reason: str) -> None:
    """Move a damaged artifact to ``artifacts/.corrupt/``; the caller holds its key's lock."""
    shelf.layout.corrupt.mkdir(parents=True, exist_ok=True)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    target = shelf.layout.corrupt / f"{directory.parent.name}-{directory.name}-{stamp}"
    directory.chmod(0o755)  # moving a directory to another parent needs write permission on it
    directory.rename(target)
    _log.warning("%s Moved to %s.", reason, target)


def sweep(shelf: Shelf) -> None:
    """Remove what dead processes left: drafts, lock files, small files, work of published keys.

    A key whose lock is held is left alone, and so is one whose last owner may live on another
    host: it is cleared by the next process that builds the key.
    """
    layout = shelf.layout
    keys = {key for key, _ in layout.drafts()}
    if layout.locks.is_dir():
        keys |= {path.name for path in layout.locks.iterdir()}
    if layout.works.is_dir():
        works = {path.name for path in layout.works.iterdir()}
        keys |= {key for key in works if shelf.catalog.by_stage_key(key)}
    for key in sorted(keys):
        try:
            _sweep_key(key, shelf)
        except PermissionError as error:  # another user's; that user's next run sweeps it
            _log.info("cannot sweep key %s: %s", key, error)
    for path in layout.home.glob(".tmp-file-*"):
        try:
            if time.time() - path.stat().st_mtime > _SMALL_FILE_AGE_S:
                remove_plain_tree(path)
        except (FileNotFoundError, PermissionError):
            continue  # its owner moved it into place, another sweep removed it, or another user's


def _sweep_key(key: str, shelf: Shelf) -> None:
    claim = try_claim(shelf.layout.lock(key))
    if claim is None:
        return
    is_foreign = claim.previous is not None and not claim.previous.is_dead()
    try:
        if not is_foreign:
            clear_drafts(key, shelf)
            finish(key, shelf)
    finally:
        claim.release(keep_file=is_foreign)


def finish(key: str, shelf: Shelf) -> None:
    """Do what follows the rename: directory read-only, partial work removed.

    Nothing happens if the key is not published. The caller holds its lock.
    """
    directory = shelf.catalog.by_stage_key(key)
    if directory is not None:
        make_read_only(directory, directory.stat().st_mode)
        remove_tree(shelf.layout.work(key), digests=shelf.digests)


def clear_drafts(key: str, shelf: Shelf) -> None:
    """Remove every draft of a stage key; the caller holds its lock."""
    for other, path in shelf.layout.drafts():
        if other == key:
            _log.info("removing %s, left by a process that ended", path)
            remove_tree(path, digests=shelf.digests)


@contextmanager
def naming_disk_errors(home: Path, *, subject: str) -> Generator[None]:
    """Turn a disk that is full or may not be written into an ArtifactError that says what to do."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            number = cause.errno if isinstance(cause, OSError) else None
            if number in {errno.ENOSPC, errno.EDQUOT}:
                raise ArtifactError(
                    f"no space left while {subject} wrote to {home} ({cause}). Nothing was "
                    "published and the unfinished output was removed; free space, for instance "
                    "with 'recap gc', and run it again."
                ) from error
            if cause is error and number in {errno.EROFS, errno.EACCES, errno.EPERM}:
                raise ArtifactError(
                    f"{home} cannot be written by {subject} ({cause}). Set RECAP_HOME to a "
                    "directory that you may write to, or correct the permissions."
                ) from error
            cause = cause.__cause__ or cause.__context__
        raise
