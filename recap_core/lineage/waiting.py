"""Runs that wait for a person or for episodes.

Small notes in the store, so that whoever brings what they wait for, on any machine, finds and wakes
them.
"""

import json
import logging
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from recap_core.lineage.files import replace_file
from recap_core.lineage.layout import Layout

_log = logging.getLogger(__name__)


class Waiting(BaseModel):
    """One run that waits."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run: str
    """Id of the flow run."""
    run_name: str
    waits_for: Literal["approval", "episodes"]
    project: str
    """``project/robot``."""
    policy: str | None = None
    """Id of the policy that waits for approval."""
    num_episodes: int | None = Field(default=None, ge=1)
    """New episodes that are needed."""
    since: AwareDatetime
    until: AwareDatetime
    """When it goes on without."""

    def is_overdue(self, now: datetime) -> bool:
        """Whether its time is up."""
        return now >= self.until


def note_waiting(home: Path, waiting: Waiting) -> None:
    """Write a note down; it replaces one of the same run and kind."""
    path = _path(home, waiting.run, waiting.waits_for)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, waiting.model_dump_json(indent=1) + "\n", temporary=_new_file(home))


def forget_waiting(home: Path, run: str, waits_for: str) -> None:
    """Remove a note, if there is one."""
    _path(home, run, waits_for).unlink(missing_ok=True)


def find_waiting(home: Path, run: str, waits_for: str) -> Waiting | None:
    """The note of a run; None if it has none."""
    return _read(_path(home, run, waits_for))


def all_waiting(home: Path, project: str | None = None) -> list[Waiting]:
    """All notes of a project, or of all projects, oldest first; an unreadable one is left out."""
    found = [_read(path) for path in sorted((home / "waiting").glob("*.json"))]
    notes = [note for note in found if note is not None and project in {None, note.project}]
    return sorted(notes, key=lambda note: note.since)


def _read(path: Path) -> Waiting | None:
    try:
        return Waiting.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, ValidationError) as error:
        _log.warning("%s is no note of a waiting run, ignored: %s", path, error)
        return None


def _path(home: Path, run: str, waits_for: str) -> Path:
    return home / "waiting" / f"{waits_for}-{run}.json"


def _new_file(home: Path) -> Path:
    return Layout(home).new_file()
