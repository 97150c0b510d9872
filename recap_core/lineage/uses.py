"""Who uses artifacts outside of stages: what is served now, and what somebody has named lately.

A ref keeps what it points to. What is served, evaluated or carried away by its id or its name alone
has no ref, so its use is noted here: garbage collection keeps it as long as a process has it in
service, and for a while after somebody named it last.
"""

import logging
import os
import re
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from recap_core.errors import ArtifactError
from recap_core.lineage.files import replace_file
from recap_core.lineage.layout import Layout
from recap_core.lineage.locks import Claim, Owner, holder, try_claim

_log = logging.getLogger(__name__)

_IN_SERVICE = re.compile(r"service-[0-9a-f]{32}")


def note_use(layout: Layout, artifact_id: str) -> None:
    """Note that somebody named an artifact to work with it; nothing if the store is read-only."""
    note = layout.uses / artifact_id
    with suppress(OSError):
        try:
            os.utime(note)  # by the clock of the file system, which all hosts share
        except (FileNotFoundError, PermissionError):  # the first use, or another user's note
            note.parent.mkdir(exist_ok=True)
            replace_file(note, "", temporary=layout.new_file())


def forget_uses(layout: Layout, artifact_id: str) -> None:
    """The artifact is gone."""
    with suppress(OSError):
        (layout.uses / artifact_id).unlink(missing_ok=True)


def uses(layout: Layout) -> dict[str, datetime]:
    """When artifacts were last named, by id."""
    found: dict[str, datetime] = {}
    for note in layout.uses.glob("*"):
        with suppress(FileNotFoundError):
            found[note.name] = datetime.fromtimestamp(note.stat().st_mtime, UTC)
    return found


class Service:
    """The artifacts that this process has in service."""

    def __init__(self, claim: Claim | None) -> None:
        self._claim = claim
        self._ids: list[str] = []

    def add(self, artifact_id: str) -> None:
        """One more; those before may still answer."""
        self._ids.append(artifact_id)
        if self._claim is not None:
            self._claim.sign(tuple(self._ids))


@contextmanager
def service(layout: Layout) -> Generator[Service]:
    """Keep artifacts from garbage collection while the body runs, and until this process ends.

    In a store that may only be read nothing is kept, with a warning.
    """
    try:
        held = try_claim(layout.lock(f"service-{uuid.uuid4().hex}"))
    except (OSError, ArtifactError) as error:
        _log.warning("others may remove what is served from %s: %s", layout.home, error)
        held = None
    try:
        yield Service(held)
    finally:
        if held is not None:
            held.release()


def in_service(layout: Layout) -> Iterator[Owner]:
    """Processes that have artifacts of this store in service now, on any host."""
    if not layout.locks.is_dir():
        return
    for path in sorted(layout.locks.iterdir()):
        if _IN_SERVICE.fullmatch(path.name) and (owner := holder(path)) is not None:
            yield owner
