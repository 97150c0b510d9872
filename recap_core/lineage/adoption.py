"""Publishing an artifact that another store made, under the id that it has there."""

from collections.abc import Callable
from pathlib import Path

from recap_core.errors import CorruptArtifactError
from recap_core.lineage.files import make_read_only
from recap_core.lineage.keys import artifact_id
from recap_core.lineage.layout import check_name
from recap_core.lineage.links import remove_tree
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.publish import Shelf, clear_drafts, publish, seal


def adopt(manifest: Manifest, fill: Callable[[Path], object], shelf: Shelf) -> Manifest:
    """Publish an artifact whose manifest exists already; the caller holds its stage key's lock.

    An artifact of this store with the same stage key goes on being the one that the key finds.

    Args:
        manifest: Of the artifact, as its own store wrote it.
        fill: Puts its files into a directory; it is called again with what it left there if it was
            interrupted.
        shelf: The parts of this store.

    Returns:
        The manifest that is in place.

    Raises:
        CorruptArtifactError: If the manifest was edited, or the files are not what it says.
        ArtifactError: If its kind or its name is unknown here.
    """
    artifact = manifest.artifact()
    check_name(manifest.name, "artifact name")
    key = manifest.stage_key
    subject = f"{manifest.kind} {manifest.name}-{manifest.id[:8]}"
    if artifact_id(manifest.kind, key, manifest.digest) != manifest.id:
        raise CorruptArtifactError(
            f"the manifest of {subject} does not hash to its own id {manifest.id}; it was edited"
        )
    clear_drafts(key, shelf)
    work = shelf.layout.work(key)
    incoming = work / f"incoming-{manifest.id}"
    incoming.mkdir(parents=True, exist_ok=True)
    fill(incoming)
    draft = shelf.layout.new_draft(key)
    incoming.rename(draft)
    try:
        digest = seal(draft, shelf, subject=subject)
        if digest != manifest.digest:
            raise CorruptArtifactError(
                f"the content of {subject} has digest {digest}, its manifest says "
                f"{manifest.digest}: it was damaged on the way. Copy it again."
            )
        known = shelf.catalog.by_stage_key(key)
        placed = publish(draft, manifest, directory=artifact.directory, shelf=shelf)
        target = shelf.layout.artifact(artifact.directory, manifest.name, manifest.id)
        if known is not None and known != target:
            shelf.catalog.record(key, known)
        make_read_only(target, target.stat().st_mode)
    finally:
        remove_tree(draft, digests=shelf.digests)
        if work.is_dir() and not any(work.iterdir()):
            work.rmdir()
    return placed
