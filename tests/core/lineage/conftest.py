"""Fixtures of the lineage tests."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recap_core.lineage.files import remove_plain_tree
from recap_core.lineage.store import Store

# `lineage_toys` is shared with scripts that run in processes of their own.
sys.path.insert(0, str(Path(__file__).parent))

_MEMORY = Path("/dev/shm")  # noqa: S108 - named for what it is
_ROOM_BYTES = 1 << 28
"""Containers have 64 MB there unless told otherwise: too little for two copies of eight rounds."""


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where waiting for the disk costs nothing; else the usual one."""
    if not (_MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(dir=_MEMORY))
    yield path
    remove_plain_tree(path)


@pytest.fixture
def store(memory: Path) -> Store:
    """An empty store."""
    return Store(memory / "home")
