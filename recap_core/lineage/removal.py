"""Taking artifacts out of a store while others may be using it.

Whoever uses an artifact first notes it (its index entry is touched, or the lock file of the build
names it) and then looks whether it is there. Whoever removes one does it the other way round: moves
it away, looks for such notes, and moves it back if there is a new one. So nobody is left with a
handle to something that was removed under him; at worst he finds it missing and makes it again.
"""

import errno
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from recap_core.errors import ArtifactNotFoundError
from recap_core.lineage.files import make_read_only, sync
from recap_core.lineage.layout import STAGE_KEY, Layout
from recap_core.lineage.links import remove_tree
from recap_core.lineage.locks import Owner, claim, holder
from recap_core.lineage.manifest import read_manifest
from recap_core.lineage.publish import Shelf
from recap_core.lineage.tombstones import Tombstone, drop_tombstone, write_tombstone
from recap_core.lineage.uses import forget_uses

REMOVE_TIMEOUT_S = 5.0


def take_away(
    directory: Path,
    shelf: Shelf,
    *,
    reason: str,
    is_wanted: Callable[[], bool] = lambda: False,
    on_gone: Callable[[], object] = lambda: None,
) -> bool:
    """Remove an artifact, unless it turns out to be wanted; its manifest becomes a tombstone.

    Args:
        directory: Of the artifact.
        shelf: Of the store.
        reason: Why, in a sentence.
        is_wanted: Asked when nobody can find the artifact any more; if so, it is put back.
        on_gone: Called when it will not be put back, before its files go.

    Returns:
        Whether it was removed.

    Raises:
        ArtifactNotFoundError: If it is gone.
        StageLockedError: If its stage key is being built now.
    """
    layout, manifest = shelf.layout, read_manifest(directory)
    key = manifest.stage_key
    with claim(layout.lock(key), timeout_s=REMOVE_TIMEOUT_S, subject=f"stage key {key}"):
        if not directory.is_dir():
            raise ArtifactNotFoundError(f"{directory} was removed by another process")
        stone = Tombstone(manifest=manifest, removed_at=datetime.now(UTC), reason=reason)
        is_told = _told(layout, stone)
        is_current = shelf.catalog.by_stage_key(key) == directory
        draft = layout.new_draft(key)
        try:
            directory.chmod(0o755)  # moving it to another parent needs write permission on it
            directory.rename(draft)
        except PermissionError:  # another user's
            drop_tombstone(layout, manifest.id)
            raise
        if is_wanted():
            draft.rename(directory)
            make_read_only(directory, directory.stat().st_mode)
            drop_tombstone(layout, manifest.id)
            return False
        on_gone()
        if is_current:
            shelf.catalog.forget(key)
        sync(directory.parent)
        remove_tree(draft, digests=shelf.digests)
        if not is_told:
            write_tombstone(layout, stone)
        forget_uses(layout, manifest.id)
    return True


def _told(layout: Layout, stone: Tombstone) -> bool:
    """Write the tombstone; on a full disk there is no place for it before something is removed."""
    try:
        write_tombstone(layout, stone)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        return False
    return True


def running_builds(layout: Layout) -> Iterator[Owner]:
    """Who builds something in this store now, on any host."""
    if not layout.locks.is_dir():
        return
    for path in sorted(layout.locks.iterdir()):
        if STAGE_KEY.fullmatch(path.name) and (owner := holder(path)) is not None:
            yield owner
