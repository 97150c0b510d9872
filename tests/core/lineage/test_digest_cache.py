"""The cache of file digests."""

import logging
import os
import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from lineage_toys import age

from recap_core.lineage.digest_cache import RACY_NS, DigestCache


def files(directory: Path, num: int) -> list[os.stat_result]:
    directory.mkdir(exist_ok=True)
    for i in range(num):
        (directory / str(i)).write_bytes(b"x" * i)
    age()
    return [(directory / str(i)).stat() for i in range(num)]


def test_a_digest_comes_back_until_the_file_changes(tmp_path: Path) -> None:
    """Touching a file, even without a change, makes the cache forget it."""
    cache = DigestCache(tmp_path / "cache.sqlite")
    a, b = files(tmp_path / "files", 2)
    cache.put([(a, "a"), (b, "b")])
    (tmp_path / "files" / "0").chmod(0o400)

    assert cache.get([a, b, (tmp_path / "files" / "0").stat()]) == ["a", "b", None]
    assert cache.get([]) == []


def test_a_file_written_a_moment_ago_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might change again within the resolution of its time stamp."""
    cache = DigestCache(tmp_path / "cache.sqlite")
    path = tmp_path / "file"
    path.touch()
    now_ns = path.stat().st_mtime_ns + RACY_NS - 1
    monkeypatch.setattr(
        "recap_core.lineage.digest_cache.time", SimpleNamespace(time_ns=lambda: now_ns)
    )
    cache.put([(path.stat(), "a")])

    assert not cache.path.exists()
    assert cache.get([path.stat()]) == [None]


def test_the_oldest_entries_are_forgotten(tmp_path: Path) -> None:
    """Of five files and room for three, the first two go; writing again keeps one."""
    cache = DigestCache(tmp_path / "cache.sqlite", max_files=3)
    stats = files(tmp_path / "files", 5)
    cache.put([(stat, str(i)) for i, stat in enumerate(stats[:4])])
    cache.put([(stats[1], "again"), (stats[4], "4")])

    assert cache.get(stats) == [None, "again", None, "3", "4"]


@pytest.mark.parametrize("damage", [b"not a database" * 500, None])
def test_a_damaged_cache_starts_afresh(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is in the file: lookups miss, the damage is removed, and it fills again."""
    cache = DigestCache(tmp_path / "cache.sqlite")
    [a] = files(tmp_path / "files", 1)
    cache.put([(a, "a")])
    content = cache.path.read_bytes()
    cache.path.write_bytes(damage or content[:4096] + b"\xff" * (len(content) - 4096))

    with caplog.at_level(logging.WARNING):
        assert cache.get([a]) == [None]
        cache.put([(a, "a")])
        cache.put([(a, "a")])
    assert cache.get([a]) == ["a"]
    assert "starting afresh" in caplog.text


def test_a_cache_that_cannot_be_used_only_costs_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory in place of the file: nothing is found, nothing is kept, nothing raises."""
    cache = DigestCache(tmp_path / "cache.sqlite")
    cache.path.mkdir()
    [a] = files(tmp_path / "files", 1)
    cache.put([(a, "a")])

    assert cache.get([a]) == [None]
    assert "cannot be used now" in caplog.text


def test_threads_share_a_cache(tmp_path: Path) -> None:
    """Eight threads write at once; every entry is there afterwards, and the file is sound."""
    cache = DigestCache(tmp_path / "cache.sqlite")
    stats = files(tmp_path / "files", 40)
    threads = [
        threading.Thread(target=cache.put, args=([(s, str(i)) for i, s in enumerate(stats)],))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert cache.get(stats) == [str(i) for i in range(40)]
    connection = sqlite3.connect(cache.path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
