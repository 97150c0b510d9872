"""Refs: names such as ``demo/aloha/current`` that point to artifacts and can be moved."""

import difflib
import hashlib
import json
import logging
from collections.abc import Collection, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from recap_core.errors import ArtifactError, RefMovedError
from recap_core.lineage.files import replace_file, sync
from recap_core.lineage.layout import Layout, check_name
from recap_core.lineage.locks import claim

_log = logging.getLogger(__name__)

_LOCK_TIMEOUT_S = 30.0
_MAX_NAMED = 8
"""Refs that an error suggests."""


class RefChange(BaseModel):
    """One move of a ref."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str
    """The artifact it has pointed to since; empty if the ref was removed."""
    previous: str | None
    """The artifact it pointed to before; None at first."""
    at: AwareDatetime
    by: str | None = None
    """Who moved it; None: a flow, or a version of recap that did not write it down."""
    note: str | None = None
    """Why, in that person's words."""
    is_rollback: bool = False
    """Whether it went back to what it was before, and so undid the moves since."""


def check_ref(ref: str) -> tuple[str, str, str]:
    """Split ``project/robot-or-task/name``.

    Raises:
        ArtifactError: If it does not have exactly three valid parts.
    """
    parts = ref.split("/")
    if len(parts) != 3:
        raise ArtifactError(f"{ref!r} is no ref: write 'project/robot-or-task/name'")
    project, robot, name = (check_name(part, f"part of ref {ref!r}") for part in parts)
    return project, robot, name


class Refs:
    """The refs of one store.

    A move is appended to the history first and then made by one rename. A history line that was
    never followed by its rename (a kill between the two) does not count, and is dropped by the next
    move.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def get(self, ref: str) -> str | None:
        """Id of the artifact a ref points to, None if it does not exist.

        Raises:
            ArtifactError: If ``ref`` is not a valid ref.
        """
        try:
            return self._path(ref).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def set(  # noqa: PLR0913 - all but ref and artifact by name
        self,
        ref: str,
        artifact_id: str,
        *,
        by: str | None = None,
        note: str | None = None,
        is_rollback: bool = False,
        instead_of: Collection[str | None] | None = None,
    ) -> None:
        """Point a ref to an artifact; nothing changes if it does already.

        Args:
            ref: ``project/robot-or-task/name``.
            artifact_id: What it points to from now on.
            by: Who says so.
            note: Why.
            is_rollback: Whether that undoes the moves since it last pointed there.
            instead_of: Ids of which it must point to one, None among them where it may be new; None
                alone: whatever it points to.

        Raises:
            RefMovedError: If it points to none of them; it stays as it is.
        """
        path = self._path(ref)
        with self._lock(ref):
            previous = self.get(ref)
            if instead_of is not None and previous not in instead_of:
                raise RefMovedError(self._why_moved(ref, previous))
            if previous == artifact_id:
                return
            change = RefChange(
                id=artifact_id,
                previous=previous,
                at=datetime.now(UTC),
                by=by,
                note=note,
                is_rollback=is_rollback,
            )
            self._append(ref, change)
            replace_file(path, artifact_id + "\n", temporary=self._layout.new_file())

    def remove(self, ref: str, *, target: str | None = None) -> None:
        """Forget a ref; its history says when. Nothing happens if there is none.

        Args:
            ref: ``project/robot-or-task/name``.
            target: Forget it only if it points to this id.
        """
        path = self._path(ref)
        with self._lock(ref):
            previous = self.get(ref)
            if previous is not None and target in {None, previous}:
                self._append(ref, RefChange(id="", previous=previous, at=datetime.now(UTC)))
                path.unlink()
                sync(path.parent)

    def history(self, ref: str) -> list[RefChange]:
        """Every move of a ref, oldest first."""
        try:
            lines = self._history_path(ref).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        try:
            changes = [RefChange.model_validate(json.loads(line)) for line in lines]
        except (ValueError, ValidationError) as error:
            raise ArtifactError(
                f"the history of ref {ref!r} cannot be read: {error}. "
                f"Repair or remove {self._history_path(ref)}."
            ) from error
        current = self.get(ref) or ""
        if changes and changes[-1].id != current:
            changes.pop()
        return changes

    def all(self) -> dict[str, str]:
        """Id by ref, in the order of the refs."""
        paths = sorted(self._layout.refs.glob("*/*/*")) if self._layout.refs.is_dir() else []
        refs = [path for path in paths if path.is_file() and not path.name.startswith(".")]
        names = [path.relative_to(self._layout.refs).as_posix() for path in refs]
        return {
            name: path.read_text(encoding="utf-8").strip()
            for name, path in zip(names, refs, strict=True)
        }

    def stamp(self) -> object:
        """Differs from every earlier one if a ref was set or removed since."""
        folders = sorted(self._layout.refs.glob("*/*"))
        return [(folder, folder.stat().st_mtime_ns) for folder in folders]

    def why_missing(self, ref: str) -> str:
        """Why there is no such ref, in a sentence."""
        history = self.history(ref)
        if history:
            last = history[-1]
            return (
                f"ref {ref!r} was removed on {last.at:%Y-%m-%d %H:%M %Z}, with what it pointed to: "
                f"{(last.previous or '')[:8]}"
            )
        every = list(self.all())
        close = difflib.get_close_matches(ref, every, n=_MAX_NAMED, cutoff=0.0)
        known = ", ".join(sorted(close)) or "none yet"
        more = f" and {len(every) - len(close)} more" if len(every) > len(close) else ""
        return f"no ref {ref!r} in {self._layout.home}; known: {known}{more}"

    def _why_moved(self, ref: str, now: str | None) -> str:
        last = next(iter(self.history(ref)[-1:]), None)
        when = f" since {last.at:%Y-%m-%d %H:%M:%S %Z}" if last else ""
        who = f" (moved by {last.by})" if last and last.by else ""
        where = f"points to {now[:8]}{when}{who}" if now else f"does not exist{when}"
        return (
            f"ref {ref!r} {where}, which is not what it was when this was decided: it stays there. "
            f"{f'See: recap lineage show {now[:8]}; then decide' if now else 'Decide'} again."
        )

    def _append(self, ref: str, change: RefChange) -> None:
        lines = [*self.history(ref), change]
        text = "".join(line.model_dump_json(exclude_defaults=True) + "\n" for line in lines)
        replace_file(self._history_path(ref), text, temporary=self._layout.new_file())

    @contextmanager
    def _lock(self, ref: str) -> Generator[None]:
        lock = hashlib.blake2b(ref.encode(), digest_size=12).hexdigest()
        path = self._layout.lock(f"ref-{lock}")
        with claim(path, timeout_s=_LOCK_TIMEOUT_S, subject=f"ref {ref!r}"):
            yield

    def _path(self, ref: str) -> Path:
        return self._layout.refs.joinpath(*check_ref(ref))

    def _history_path(self, ref: str) -> Path:
        path = self._path(ref)
        return path.parent / ".history" / f"{path.name}.jsonl"
