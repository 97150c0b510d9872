"""Fixtures of the lineage tests."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recap_core.lineage.files import remove_plain_tree
from recap_core.lineage.store import Store

# `lineage_toys` is shared with scripts that run in processes of their own.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where waiting for the disk costs nothing; else the usual one."""
    if not Path("/dev/shm").is_dir():  # noqa: S108 - named for what it is
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    remove_plain_tree(path)


@pytest.fixture
def store(memory: Path) -> Store:
    """An empty store."""
    return Store(memory / "home")
