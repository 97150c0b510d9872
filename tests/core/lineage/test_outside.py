"""Trees outside the store, read through their links."""

import os
import shutil
from pathlib import Path

import pytest

from recap_core.errors import DataError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.digests import tree_digest
from recap_core.lineage.outside import files_behind_links, outside_digest


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """``data`` holds a file and a directory with one; ``other`` does not belong to it."""
    root = tmp_path / "dataset"
    (root / "data" / "chunk").mkdir(parents=True)
    (root / "data" / "a").write_text("1")
    (root / "data" / "chunk" / "b").write_text("2")
    (root / "other").write_text("not looked at")
    return root


def test_links_count_as_what_they_lead_to(dataset: Path, tmp_path: Path) -> None:
    """A linked file, a linked directory and plain copies have one digest."""
    linked, plain = tmp_path / "linked", tmp_path / "plain"
    (linked / "data").mkdir(parents=True)
    (linked / "data" / "a").symlink_to(dataset / "data" / "a")
    (linked / "data" / "chunk").symlink_to(dataset / "data" / "chunk")
    shutil.copytree(dataset / "data", plain / "data")

    digest = outside_digest(linked, ["data"], None)

    assert digest == outside_digest(dataset, ["data", "nothing"], None)
    assert digest == tree_digest(plain, None)
    assert [file.relative for file in files_behind_links(linked, ["data"])] == [
        "data/a",
        "data/chunk/b",
    ]


def test_a_change_behind_a_link_is_seen(dataset: Path, tmp_path: Path) -> None:
    """Also by way of the cache."""
    cache = DigestCache(tmp_path / "digests.sqlite")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "data").symlink_to(dataset / "data")
    before = outside_digest(tmp_path / "linked", ["data"], cache)

    (dataset / "data" / "a").write_text("other")

    assert outside_digest(tmp_path / "linked", ["data"], cache) != before


def test_what_cannot_be_followed(dataset: Path) -> None:
    """A link to nowhere, a circle, and a pipe are errors that name the path."""
    trap = dataset / "data" / "trap"
    trap.symlink_to(dataset / "nowhere")
    with pytest.raises(DataError, match="trap is a link that leads nowhere"):
        outside_digest(dataset, ["data"], None)
    trap.unlink()
    trap.symlink_to(dataset / "data")
    with pytest.raises(DataError, match="trap is a link to a directory that holds it"):
        outside_digest(dataset, ["data"], None)
    trap.unlink()
    os.mkfifo(trap)
    with pytest.raises(DataError, match="trap is neither a file nor a directory"):
        outside_digest(dataset, ["data"], None)
