"""Where everything lies inside a store, and which names are allowed.

artifacts/<type>/<name>-<id8>/      published artifacts, read-only
artifacts/.corrupt/                 what was published and no longer matches its digest
refs/<project>/<robot-or-task>/<ref>   small files that name an id; history in .history/
work/<stage key>/                   resumable partial work
index/stage-key/<stage key>         which artifact has that key; can be rebuilt. Its modification
                                    time says when that artifact was last asked for
removed/<id>.json                   manifest of an artifact that was removed
uses/<id>                           empty; its modification time says when somebody last named that
                                    artifact to serve it, evaluate it, or carry it away
locks/<stage key>                   who builds that key now
locks/service-<random>              a process that serves artifacts now
digests.sqlite                      digest cache; can be deleted. On network file systems every
                                    host has its own, digests-<host>.sqlite
.tmp-<stage key>-<pid>-<random>/    an artifact that is being built
.tmp-file-<random>                  a small file that is being written
"""

import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from recap_core.errors import ArtifactError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ID_PREFIX = re.compile(r"[0-9a-f]{6,32}")
STAGE_KEY = re.compile(r"[0-9a-f]{32}")
DRAFT = re.compile(r"\.tmp-([0-9a-f]{32})-.*")
MANIFEST_FILE = "artifact.json"


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it is a lower-case file name of at most 64 characters.

    Raises:
        ArtifactError: If it is not, naming ``what`` it was meant for.
    """
    if not NAME.fullmatch(name):
        raise ArtifactError(
            f"{name!r} is no valid {what}: use 1 to 64 of a-z, 0-9, '.', '_' and '-', "
            "starting with a letter or a digit"
        )
    return name


@dataclass(frozen=True)
class Layout:
    """Paths of one store."""

    home: Path

    @property
    def artifacts(self) -> Path:
        """Published artifacts, one directory per type."""
        return self.home / "artifacts"

    @property
    def corrupt(self) -> Path:
        """Artifacts that were moved aside."""
        return self.artifacts / ".corrupt"

    @property
    def refs(self) -> Path:
        """Named pointers to artifacts."""
        return self.home / "refs"

    @property
    def works(self) -> Path:
        """Partial work of every unfinished key."""
        return self.home / "work"

    @property
    def index(self) -> Path:
        """Entries from stage keys to artifact directories."""
        return self.home / "index" / "stage-key"

    @property
    def locks(self) -> Path:
        """Lock files of live builds."""
        return self.home / "locks"

    @property
    def removed(self) -> Path:
        """Manifests of removed artifacts."""
        return self.home / "removed"

    @property
    def uses(self) -> Path:
        """When artifacts were last named."""
        return self.home / "uses"

    @property
    def caches(self) -> Path:
        """What can be computed again: decoded frames, features, compiled programs."""
        return self.home / "cache"

    def work(self, key: str) -> Path:
        """Partial work of one stage key."""
        return self.works / key

    def lock(self, key: str) -> Path:
        """Lock file of one stage key."""
        return self.locks / key

    def artifact(self, directory: str, name: str, artifact_id: str) -> Path:
        """Directory of a published artifact."""
        return self.artifacts / directory / f"{name}-{artifact_id[:8]}"

    def new_draft(self, key: str) -> Path:
        """A fresh path to build an artifact of that key in."""
        return self.home / f".tmp-{key}-{os.getpid()}-{uuid.uuid4().hex[:12]}"

    def drafts(self) -> list[tuple[str, Path]]:
        """(stage key, path) of every artifact that is, or was, being built."""
        paths = sorted(self.home.iterdir()) if self.home.is_dir() else []
        found = [(DRAFT.fullmatch(path.name), path) for path in paths]
        return [(match[1], path) for match, path in found if match]

    def new_file(self) -> Path:
        """A fresh path to write a small file to, before it is moved where it belongs."""
        return self.home / f".tmp-file-{uuid.uuid4().hex}"
