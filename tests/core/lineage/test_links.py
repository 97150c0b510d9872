"""Hard links between trees."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lineage_toys import age

from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.digests import tree_digest
from recap_core.lineage.links import link_file, link_tree, remove_tree


@pytest.fixture
def cache(tmp_path: Path) -> DigestCache:
    """An empty digest cache."""
    return DigestCache(tmp_path / "cache.sqlite")


@pytest.fixture
def source(tmp_path: Path, cache: DigestCache) -> Path:
    """Two files and a manifest, their digests cached."""
    root = tmp_path / "source"
    (root / "videos").mkdir(parents=True)
    (root / "videos" / "a.mp4").write_bytes(b"v" * 1000)
    (root / "data").write_bytes(b"d" * 10)
    (root / "artifact.json").write_text("{}")
    age()
    tree_digest(root, cache)
    return root


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory in another file system."""
    shared = Path("/dev/shm")  # noqa: S108 - a file system that most machines have
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to copy to")
    path = Path(tempfile.mkdtemp(dir=shared))
    yield path
    shutil.rmtree(path)


def cached(cache: DigestCache, root: Path) -> list[bool]:
    files = [root / "videos" / "a.mp4", root / "data"]
    return [digest is not None for digest in cache.get([file.stat() for file in files])]


def test_a_linked_tree_costs_no_bytes(source: Path, tmp_path: Path, cache: DigestCache) -> None:
    """Same inodes, no manifest, and neither side has to be read again."""
    new_bytes = link_tree(source, tmp_path / "target", digests=cache)

    assert new_bytes == 0
    assert not (tmp_path / "target" / "artifact.json").exists()
    for name in ("videos/a.mp4", "data"):
        assert (tmp_path / "target" / name).samefile(source / name)
    assert cached(cache, source) == [True, True]
    assert tree_digest(tmp_path / "target", None) == tree_digest(source, None)


def test_part_of_a_tree_can_be_linked(source: Path, tmp_path: Path, cache: DigestCache) -> None:
    """Videos are shared, the rest is written anew by the caller."""
    link_tree(source, tmp_path / "t", digests=cache, include=lambda path: path.endswith(".mp4"))

    assert [p.name for p in (tmp_path / "t").rglob("*") if p.is_file()] == ["a.mp4"]


def test_another_file_system_gets_copies(source: Path, elsewhere: Path, cache: DigestCache) -> None:
    """Equal content, and the bytes are counted: 1000 + 10."""
    assert link_tree(source, elsewhere / "tree", digests=cache) == 1010
    assert link_file(source / "data", elsewhere / "one", digests=cache) == 10
    assert link_tree(source, elsewhere / "uncached", digests=None) == 1010
    assert tree_digest(elsewhere / "tree", None) == tree_digest(source, None)


def test_one_file_can_be_linked(source: Path, tmp_path: Path, cache: DigestCache) -> None:
    """With its digest, or without a cache."""
    assert link_file(source / "data", tmp_path / "new" / "data", digests=cache) == 0
    assert cached(cache, source) == [True, True]
    assert link_file(source / "data", tmp_path / "new" / "again", digests=None) == 0
    assert link_tree(source, tmp_path / "new" / "tree", digests=None) == 0


def test_an_existing_file_is_never_replaced(
    source: Path, tmp_path: Path, cache: DigestCache
) -> None:
    """Neither silently nor by a copy."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "data").write_text("mine")
    with pytest.raises(FileExistsError):
        link_tree(source, tmp_path / "target", digests=cache)
    assert (tmp_path / "target" / "data").read_text() == "mine"


def test_a_file_changed_while_it_was_linked_is_not_trusted(
    source: Path, tmp_path: Path, cache: DigestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its old digest is not carried over to the new content."""
    real = os.link

    def change_then_link(a: Path, b: Path, *, follow_symlinks: bool) -> None:
        if a.name == "data":
            a.write_bytes(b"e" * 10)
        real(a, b, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "link", change_then_link)
    link_tree(source, tmp_path / "target", digests=cache)

    assert cached(cache, source) == [True, False]


def test_too_many_links_fall_back_to_a_copy(
    source: Path, tmp_path: Path, cache: DigestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system allows a limited number of names per file."""

    def refuse(*_: Path, **__: bool) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", refuse)
    assert link_file(source / "data", tmp_path / "data", digests=cache) == 10


def test_removing_a_copy_leaves_the_sources_digests(
    source: Path, tmp_path: Path, cache: DigestCache
) -> None:
    """Read-only directories, links and all; shared files keep their content and cache entry."""
    target = tmp_path / "target"
    link_tree(source, target, digests=cache)
    (target / "link").symlink_to("nowhere")
    link_file(source / "artifact.json", target / "unknown", digests=None)
    (target / "videos").chmod(0o500)
    target.chmod(0o500)

    remove_tree(target, digests=cache)
    remove_tree(target, digests=cache)

    assert not target.exists()
    assert cached(cache, source) == [True, True]
    assert (source / "data").read_bytes() == b"d" * 10
