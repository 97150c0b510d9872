"""What making an artifact added to the disk."""

from collections.abc import Mapping

from recap_core.errors import ArtifactError
from recap_core.lineage.files import Tree, walk
from recap_core.lineage.layout import MANIFEST_FILE
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store


def new_bytes(store: Store, manifest: Manifest, manifests: Mapping[str, Manifest]) -> int | None:
    """Bytes of the files that an artifact does not share with what it was made from.

    Files are linked from inputs only, so over many artifacts every file is counted once, for the
    one that brought it. The manifest itself is not counted.

    Args:
        store: Where it is.
        manifest: Of the artifact.
        manifests: Of its parents among others, by id; files of parents that are not there, because
            they were removed, count as its own.

    Returns:
        None if its files, or those of a parent, cannot be listed.
    """
    try:
        files = [file for file in _tree(store, manifest).files if file.relative != MANIFEST_FILE]
        theirs: set[tuple[int, int]] = set()
        if any(file.stat.st_nlink > 1 for file in files):
            for parent in manifest.parents:
                if parent.id in manifests:
                    tree = _tree(store, manifests[parent.id])
                    theirs |= {(file.stat.st_dev, file.stat.st_ino) for file in tree.files}
    except (ArtifactError, OSError):
        return None
    return sum(
        file.stat.st_size for file in files if (file.stat.st_dev, file.stat.st_ino) not in theirs
    )


def _tree(store: Store, manifest: Manifest) -> Tree:
    return walk(store.path(manifest.artifact()))
