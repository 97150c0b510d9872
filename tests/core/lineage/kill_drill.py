"""Kill a process before every change it makes to the file system, and check what it left.

Run as a script in a process of its own, because it forks: ``kill_drill.py produce|ref DIRECTORY``.
Prints one JSON line: the number of kills, and how many of them left the new state.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lineage_toys import STATS, ToyConfig, copies, make_stats

from recap_core.lineage.artifacts import Artifact
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


if __name__ == "__main__":
    drill = {"produce": produce_once, "ref": ref_once}[sys.argv[1]]
    kills = new_states = 0
    while True:
        was_killed, is_new = drill(Path(sys.argv[2]), kills)
        if not was_killed:
            break
        kills += 1
        new_states += is_new
    sys.stdout.write(json.dumps({"kills": kills, "new_states": new_states}))
