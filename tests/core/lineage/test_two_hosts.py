"""One store, two hosts: processes that say they run elsewhere, and mounts as other systems list."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lineage_toys import ToyConfig, make_stats, writes

from recap_core.config.retention import RetentionConfig
from recap_core.errors import StageLockedError
from recap_core.lineage.artifacts import NormStats
from recap_core.lineage.garbage import GarbageCollector
from recap_core.lineage.keys import Stage
from recap_core.lineage.layout import Layout
from recap_core.lineage.locks import try_claim
from recap_core.lineage.mounts import digest_cache_path, mount_of
from recap_core.lineage.store import Store

STATS = Stage("toy_stats", 1, NormStats)
AT_ONCE = RetentionConfig(recent_hours=0, unused_days=0, work_days=0, corrupt_days=0)
ELSEWHERE = """
import socket, sys, time
socket.gethostname = lambda: "robot-pc"
from pathlib import Path
from recap_core.lineage.artifacts import NormStats
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
sys.path.insert(0, sys.argv[2])
from lineage_toys import ToyConfig
def build(area):
    (area.output / "half").write_text("half")
    print("building", flush=True)
    sys.stdin.readline()
    (area.output / "half").write_text("whole")
    return Built({"num_frames": 1})
stage = Stage("toy_stats", 1, NormStats)
config = ToyConfig(text="far")
print(Store(Path(sys.argv[1])).produce(stage, config, {}, name="far", build=build).id)
"""
NFS = "98 27 0:51 / {home} rw,relatime shared:1 - {type} server:/export rw,vers=4.2{options}\n"
LOCAL = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"


@contextmanager
def _other_host(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of host ``robot-pc`` that is in the middle of a build."""
    command = [sys.executable, "-c", ELSEWHERE, str(home), str(Path(__file__).parent)]
    with subprocess.Popen(  # noqa: S603 - our own script
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        yield process
        process.kill()


def _finish(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_build_elsewhere_is_waited_for_and_its_result_taken(store: Store) -> None:
    """This host neither sweeps its draft nor builds the same key; garbage collection waits too."""
    make_stats(store, "unneeded")
    with _other_host(store.home) as process:
        here = Store(store.home)  # opening sweeps
        assert len(list(here.home.glob(".tmp-*"))) == 1
        with pytest.raises(StageLockedError, match="host robot-pc, pid"):
            here.produce(
                STATS, ToyConfig(text="far"), {}, name="far", build=writes(), lock_timeout_s=0
            )
        collector = GarbageCollector(here.home, AT_ONCE)
        with pytest.raises(StageLockedError, match=r"1 stage\(s\) run now.*host robot-pc"):
            collector.carry_out(collector.plan())
        made = _finish(process)

    found = here.find(STATS, ToyConfig(text="far"), {})
    assert found is not None
    assert found.id == made


def test_what_a_dead_host_left_is_collected_after_a_while(store: Store) -> None:
    """Its draft may not be swept by others, who cannot tell that it is dead; time can."""
    with _other_host(store.home) as process:
        process.kill()
        process.wait()
    assert list(Store(store.home).home.glob(".tmp-*"))

    collector = GarbageCollector(store.home, RetentionConfig())
    assert not collector.plan().leftovers
    collector = GarbageCollector(store.home, AT_ONCE)
    found = [item.what.partition(",")[0] for item in collector.plan().leftovers]
    assert found == ["unfinished work", "unfinished artifact"]
    collector.carry_out(collector.plan())
    assert not list(store.home.glob(".tmp-*"))


def test_a_key_that_a_dead_host_left_can_be_built_here(store: Store) -> None:
    """Its lock went with its process; its half-written draft goes with the build."""
    with _other_host(store.home) as process:
        process.kill()
        process.wait()

    here = Store(store.home)
    made = here.produce(STATS, ToyConfig(text="far"), {}, name="far", build=writes("far"))
    here.verify(made)
    assert not list(here.home.glob(".tmp-*"))
    assert not list((here.home / "locks").iterdir())


def test_a_store_that_is_mounted_elsewhere_is_the_same(store: Store, tmp_path: Path) -> None:
    """Nothing in it knows where it is: found, verified and cached under another path."""
    made = make_stats(store, "text")
    store.set_ref("p/r/mine", made)
    elsewhere = tmp_path / "mnt"
    elsewhere.symlink_to(store.home, target_is_directory=True)

    there = Store(elsewhere)
    assert there.get_ref("p/r/mine") == made
    assert there.find(STATS, ToyConfig(text="text"), {}) == made
    there.verify(made)
    holds_path = [
        path
        for path in store.home.rglob("*")
        if path.is_file() and path.suffix != ".sqlite" and str(store.home) in path.read_text()
    ]
    assert holds_path == []


def test_a_lock_file_can_be_taken_over_by_whoever_may_make_one(store: Store) -> None:
    """In a directory that a group may write to, also under a umask that says otherwise."""
    locks = Layout(store.home).locks
    locks.mkdir(parents=True)
    locks.chmod(0o2775)
    before = os.umask(0o077)
    try:
        claim = try_claim(locks / "key")
        assert claim is not None
        mode = stat.S_IMODE((locks / "key").stat().st_mode)
        claim.release()
    finally:
        os.umask(before)
    assert mode == 0o664


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        ("nfs4", "", None),
        ("nfs4", ",local_lock=none", None),
        ("nfs", ",nolock,addr=1", "mounted with nolock"),
        ("nfs4", ",local_lock=all", "mounted with local_lock=all"),
        ("fuse.sshfs", "", None),
        ("xfs", "", None),
    ],
)
def test_a_network_file_system_is_recognised(
    tmp_path: Path, kind: str, options: str, problem: str | None
) -> None:
    """The innermost mount counts, and what it says about locks."""
    table = tmp_path / "mountinfo"
    table.write_text(LOCAL + NFS.format(home=tmp_path / "store", type=kind, options=options))

    mount = mount_of(tmp_path / "store" / "home", table=table)
    assert mount is not None
    assert (mount.type, mount.lock_problem) == (kind, problem)
    assert mount.is_network == (kind != "xfs")
    above = mount_of(tmp_path, table=table)
    assert above is not None
    assert above.type == "ext4"


def test_hosts_do_not_share_a_digest_cache_over_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their device numbers differ, and SQLite's locks may not work there."""
    table = tmp_path / "mountinfo"
    table.write_text(LOCAL + NFS.format(home=tmp_path, type="nfs4", options=""))
    monkeypatch.setattr("recap_core.lineage.mounts._MOUNTS", table)
    monkeypatch.setattr("socket.gethostname", lambda: "gpu/1")

    assert digest_cache_path(tmp_path) == tmp_path / "digests-gpu_1.sqlite"
    monkeypatch.undo()
    assert digest_cache_path(tmp_path) == tmp_path / "digests.sqlite"


def test_a_system_without_a_mount_table_is_taken_as_local(tmp_path: Path) -> None:
    """Such as macOS."""
    assert mount_of(tmp_path, table=tmp_path / "none") is None
