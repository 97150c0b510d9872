"""Kill a process before every change it makes to the file system, and check what it left.

Run as a script in a process of its own, because it forks: ``kill_drill.py produce|ref|gc
DIRECTORY``. Prints one JSON line: the number of kills, and how many of them left the new state.
``meanwhile`` kills nobody: a build begins in the middle of a collection; prints what it did.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lineage_toys import PROJECT, STATS, ToyConfig, copies, make_report, make_round, make_stats

from recap_core.config.retention import RetentionConfig
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.garbage import GarbageCollector
from recap_core.lineage.layout import Layout
from recap_core.lineage.locks import claim
from recap_core.lineage.store import Store

CHANGES = {
    "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate",
    "fcntl.flock", "sqlite3.connect",
}  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def killed_before_change(number: int, action: Callable[[], object]) -> bool:
    """Fork, run ``action``, and kill the child just before its ``number``-th change.

    Returns:
        False if the child made fewer changes and ended by itself.
    """
    pid = os.fork()
    if pid == 0:
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            is_write = event == "open" and bool((arguments[2] or 0) & WRITING)
            if event in CHANGES or is_write:
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(hook)
        try:
            action()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def check_clean(store: Store) -> None:
    """Nothing of a dead process is left."""
    left = [p.name for p in store.home.iterdir() if p.name.startswith(".tmp-") and p.is_dir()]
    left += [p.name for folder in ("work", "locks") for p in (store.home / folder).glob("*")]
    assert not left, left


def produce_once(directory: Path, number: int) -> tuple[bool, bool]:
    """One drill of ``produce``: (was killed, left the new state)."""
    store = Store(directory / str(number))
    source = make_stats(store, "source")
    config = ToyConfig(text="copy")

    def produce(store: Store) -> Artifact:
        inputs = {"source": source}
        return store.produce(STATS, config, inputs, name="copy", build=copies(store, source))

    was_killed = killed_before_change(number, lambda: produce(Store(store.home)))

    store = Store(store.home)
    visible = list(store.artifacts())
    assert len(visible) in {1, 2}, visible
    for manifest in visible:
        store.verify(manifest.artifact())
    found = store.find(STATS, config, {"source": source})
    assert (found is not None) == (len(visible) == 2), (found, visible)
    result = produce(store)
    assert found in (None, result)
    assert len(list(store.artifacts())) == 2
    assert not store.path(result).stat().st_mode & 0o222
    store.verify(source)
    check_clean(store)
    return was_killed, found is not None


def ref_once(directory: Path, number: int) -> tuple[bool, bool]:
    """One drill of ``set_ref``: (was killed, left the new state)."""
    store = Store(directory / str(number))
    old, new = make_stats(store, "old"), make_stats(store, "new")
    store.set_ref("demo/aloha/current", old)

    def move() -> None:
        store.set_ref("demo/aloha/current", new)

    was_killed = killed_before_change(number, move)

    store = Store(store.home)
    current = store.get_ref("demo/aloha/current")
    assert current in (old, new)
    moves = [change.id for change in store.ref_history("demo/aloha/current")]
    assert moves == ([old.id, new.id] if current == new else [old.id])
    move()
    assert [c.id for c in store.ref_history("demo/aloha/current")] == [old.id, new.id]
    check_clean(store)
    return was_killed, current == new


def kill_drill(drill: str, directory: Path) -> dict[str, Any]:
    """Run one of the drills in a process of its own, and return what it says."""
    command = [sys.executable, __file__, drill, str(directory)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(  # noqa: S603 - our own script
        command, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


AT_ONCE = RetentionConfig(recent_hours=0, unused_days=0, keep_rounds=1)


def gc_once(directory: Path, number: int) -> tuple[bool, bool]:
    """One drill of garbage collection: (was killed, the old round's dataset was gone)."""
    store = Store(directory / str(number))
    ref, gone = f"{PROJECT}/round-1-relabeled", "gone"
    old = make_report(store, gone)
    store.set_ref(ref, old)
    loose = make_stats(store, "loose")
    stays = make_report(store, "stays")
    for k, relabeled in ((1, old), (2, stays)):
        record = make_round(store, k, relabeled=relabeled)
        store.set_ref(f"{PROJECT}/round-{k}", record)
    collector = GarbageCollector(store.home, AT_ONCE)
    plan = collector.plan()
    assert {item.manifest.id for item in plan.remove} == {old.id, loose.id}

    was_killed = killed_before_change(number, lambda: collector.carry_out(plan))

    store = Store(store.home)  # sweeps what was half removed
    left = {manifest.id for manifest in store.artifacts()}
    for manifest in store.artifacts():
        store.verify(manifest.artifact())
    assert old.id not in left or store.refs()[ref] == old.id, "the ref is lost"
    check_clean(store)
    again = GarbageCollector(store.home, AT_ONCE)
    again.carry_out(again.plan())
    assert ref not in store.refs()
    assert {old.id, loose.id}.isdisjoint(manifest.id for manifest in store.artifacts())
    assert [change.id for change in store.ref_history(ref)] == [old.id, ""]
    assert {stone.manifest.id for stone in store.removed()} == {old.id, loose.id}
    store.verify(stays)
    check_clean(store)
    return was_killed, old.id not in left


def begin_meanwhile(home: Path) -> dict[str, list[str]]:
    """Collect garbage while a build begins that takes what is just being moved away."""
    store = Store(home)
    wanted = make_report(store, "wanted")
    place = store.path(wanted)
    collector = GarbageCollector(home, AT_ONCE)
    plan = collector.plan()
    builder = claim(Layout(home).lock("b" * 32), timeout_s=0, subject="s", inputs=(wanted.id,))
    begun: list[object] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[0]) == str(place) and not begun:
            begun.append(True)  # first, because the claim below makes events too
            begun.append(builder.__enter__())

    sys.addaudithook(hook)
    done = collector.carry_out(plan)
    assert begun
    builder.__exit__(None, None, None)
    return {
        "spared": [kept.manifest.name for kept in done.spared],
        "removed": [item.manifest.name for item in done.removed],
    }


def count_kills(drill: Callable[[Path, int], tuple[bool, bool]], directory: Path) -> dict[str, int]:
    """Repeat a drill with a later kill each time, until it ends by itself."""
    kills = new_states = 0
    while True:
        was_killed, is_new = drill(directory, kills)
        if not was_killed:
            return {"kills": kills, "new_states": new_states}
        kills += 1
        new_states += is_new


if __name__ == "__main__":
    drills = {"produce": produce_once, "ref": ref_once, "gc": gc_once}
    name, where = sys.argv[1], Path(sys.argv[2])
    said = begin_meanwhile(where) if name == "meanwhile" else count_kills(drills[name], where)
    sys.stdout.write(json.dumps(said))
