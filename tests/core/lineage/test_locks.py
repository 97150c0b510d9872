"""Claims and their owners."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from lineage_toys import REPORT, STATS, ToyConfig, make_stats, writes

from recap_core.errors import ArtifactError, StageLockedError
from recap_core.lineage.keys import stage_key
from recap_core.lineage.locks import Owner, claim, process_start, read_owner, try_claim
from recap_core.lineage.store import Store

HOLDER = """
import sys, time
from pathlib import Path
from recap_core.lineage.locks import try_claim
held = try_claim(Path(sys.argv[1]))
held.sign()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Path of a lock file."""
    return tmp_path / "locks" / "key"


@pytest.fixture
def holder(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(  # noqa: S603 - our own script
        command, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_claim_excludes_other_threads_of_the_process(lock: Path) -> None:
    """Not only other processes."""
    with claim(lock, timeout_s=0, subject="x"):
        assert try_claim(lock) is None


def test_a_released_claim_leaves_no_file(lock: Path) -> None:
    """Lock files do not pile up."""
    with claim(lock, timeout_s=0, subject="x"):
        assert lock.exists()
    assert not lock.exists()


def test_a_live_holder_is_named_after_the_timeout(
    lock: Path, holder: subprocess.Popen[str]
) -> None:
    """Host, pid and since when, and the way out."""
    pattern = rf"stage 'x' is being built by host {socket.gethostname()}, pid {holder.pid}, since "
    with (
        pytest.raises(StageLockedError, match=pattern),
        claim(lock, timeout_s=0.05, subject="stage 'x'"),
    ):
        pass


def test_the_lock_of_a_killed_process_is_free_at_once(
    lock: Path, holder: subprocess.Popen[str]
) -> None:
    """The kernel releases it; the next owner learns who died."""
    holder.kill()
    holder.wait()

    held = try_claim(lock)

    assert held is not None
    assert held.previous is not None
    assert (held.previous.pid, held.previous.is_dead()) == (holder.pid, True)
    held.release()


def test_only_one_of_many_breakers_wins(lock: Path, holder: subprocess.Popen[str]) -> None:
    """Eight threads go for a dead owner's lock; they hold it one after the other."""
    holder.kill()
    holder.wait()
    inside: list[int] = []
    most: list[int] = []

    def enter(number: int) -> None:
        with claim(lock, timeout_s=60, subject="x"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.002)
            inside.remove(number)

    threads = [threading.Thread(target=enter, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1] * 8


def test_a_waiter_says_whom_it_waits_for(
    lock: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a second, once."""
    held = try_claim(lock)
    assert held is not None
    held.sign()
    pauses, now_s = [], 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds
        pauses.append(len(told))
        if now_s > 5:
            held.release()

    told: list[str] = []
    monkeypatch.setattr(
        "recap_core.lineage.locks.time", SimpleNamespace(monotonic=lambda: now_s, sleep=sleep)
    )
    waits = claim(lock, timeout_s=20, subject="stage 'x'", on_wait=told.append)
    with caplog.at_level("INFO"), waits:
        pass

    said = [record.getMessage() for record in caplog.records if "waiting" in record.getMessage()]
    assert said == told == [f"stage 'x' is being built by {said[0].split(' by ')[1]}"]
    assert f"pid {os.getpid()}" in said[0]
    assert set(pauses) == {0, 1}  # before a second had passed, nothing was said


def test_a_file_replaced_between_open_and_lock_is_not_taken(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is on the file that others will open, not on one that was just removed."""
    real, calls = fcntl.flock, 0

    def flock_after_others(descriptor: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        real(descriptor, operation)
        if calls == 1:
            lock.unlink()
        if calls == 2:
            lock.unlink()
            lock.touch()

    monkeypatch.setattr(fcntl, "flock", flock_after_others)
    held = try_claim(lock)

    assert held is not None
    assert calls == 3
    held.release()


def test_a_file_system_without_locks_is_named(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot hold a store."""

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ArtifactError, match=r"locks refuses locks \(No locks available\)"):
        try_claim(lock)


def test_a_reused_pid_is_not_the_owner() -> None:
    """The same pid with another start time means that the owner is gone."""
    me = Owner.current()

    assert not me.is_dead()
    assert me.model_copy(update={"process_start": "boot:1"}).is_dead()
    assert me.process_start == process_start(os.getpid())
    assert process_start(2**22 + 1) is None


def test_an_ended_process_that_nobody_has_reaped_is_dead() -> None:
    """It is still listed, for ever in a container whose first process reaps nobody."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:  # noqa: S607 - Unix's own
        start = process_start(process.pid)
        owner = Owner.current().model_copy(update={"pid": process.pid, "process_start": start})
        assert start is not None
        assert not owner.is_dead()

        process.terminate()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

        assert owner.is_dead()


def test_an_owner_elsewhere_is_never_called_dead() -> None:
    """Its pid says nothing on this host."""
    owner = Owner(host="elsewhere", pid=1, process_start=None, since=datetime.now(UTC))

    assert not owner.is_dead()


def test_another_users_process_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that is not permitted has somebody to go to."""

    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)

    assert not Owner.current().is_dead()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "a"}', '{"host": 1}'])
def test_an_unreadable_owner_is_unknown(tmp_path: Path, content: str) -> None:
    """A lock file that was cut, or is empty, names nobody."""
    (tmp_path / "lock").write_text(content)

    assert read_owner(tmp_path / "lock") is None


def test_a_second_producer_fails_after_its_timeout(store: Store) -> None:
    """``produce`` names the stage and the process that has its key."""
    key = stage_key(STATS, ToyConfig(), {})
    pattern = rf"stage 'toy_stats' \(key {key[:8]}\) is being built by .*pid {os.getpid()}"
    with (
        claim(store.home / "locks" / key, timeout_s=0, subject="x"),
        pytest.raises(StageLockedError, match=pattern),
    ):
        store.produce(STATS, ToyConfig(), {}, name="a", build=writes(), lock_timeout_s=0.02)


def test_another_key_is_not_held_up(store: Store) -> None:
    """Locks are per stage key."""
    key = stage_key(REPORT, ToyConfig(), {})
    with claim(store.home / "locks" / key, timeout_s=0, subject="x"):
        make_stats(store)
