"""What killed processes leave behind."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kill_drill import kill_drill
from lineage_toys import STATS, ToyConfig, make_stats, writes

from recap_core.lineage.keys import stage_key
from recap_core.lineage.locks import Owner, claim
from recap_core.lineage.store import Store


@pytest.mark.parametrize(("drill", "least"), [("produce", 30), ("ref", 10)])
def test_a_kill_before_any_change_leaves_old_or_new(drill: str, least: int, memory: Path) -> None:
    """A real SIGKILL before each change to the file system; every check is in ``kill_drill.py``."""
    result = kill_drill(drill, memory)

    assert result["kills"] >= least
    assert 0 < result["new_states"] < result["kills"]


def abandon(store: Store, host: str | None = None) -> Path:
    """A draft with its lock file, as a process that is gone left them; return the draft."""
    key = stage_key(STATS, ToyConfig(), {})
    draft = store.home / f".tmp-{key}-1-abc"
    (draft / "sub").mkdir(parents=True)
    (draft / "sub" / "x").touch()
    (draft / "sub").chmod(0o500)
    (store.home / "work" / key).mkdir(parents=True)
    (store.home / "work" / key / "partial").touch()
    owner = Owner.current().model_copy(update={"process_start": "boot:1"})
    if host:
        owner = Owner(host=host, pid=1, process_start=None, since=datetime.now(UTC))
    (store.home / "locks").mkdir()
    (store.home / "locks" / key).write_text(owner.model_dump_json())
    return draft


def test_opening_a_store_sweeps_a_dead_owners_draft(store: Store) -> None:
    """Draft and lock file go; partial work stays until its key is published."""
    draft = abandon(store)

    Store(store.home)

    assert not draft.exists()
    assert list((store.home / "locks").iterdir()) == []
    assert len(list((store.home / "work").iterdir())) == 1


def test_a_live_owners_draft_is_never_swept(store: Store) -> None:
    """Its lock is held, whatever the file says."""
    draft = abandon(store)
    key = stage_key(STATS, ToyConfig(), {})

    with claim(store.home / "locks" / key, timeout_s=0, subject="x"):
        Store(store.home)

    assert draft.exists()


def test_another_hosts_draft_is_left_to_the_next_producer(store: Store) -> None:
    """Its owner may be alive where this host cannot see; building the key clears it."""
    draft = abandon(store, host="elsewhere")

    Store(store.home)
    assert draft.exists()
    assert len(list((store.home / "locks").iterdir())) == 1

    store.produce(STATS, ToyConfig(), {}, name="a", build=writes())
    assert not draft.exists()
    assert list((store.home / "work").iterdir()) == []


def test_work_of_a_published_key_is_swept(store: Store) -> None:
    """The kill came between the rename and the removal."""
    artifact = make_stats(store)
    work = store.home / "work" / store.manifest(artifact).stage_key
    work.mkdir(parents=True)
    (work / "partial").touch()
    store.path(artifact).chmod(0o755)

    Store(store.home)

    assert not work.exists()
    assert not store.path(artifact).stat().st_mode & 0o222


def test_small_files_are_swept_when_they_are_old(store: Store) -> None:
    """A young one may still be moved into place."""
    store.home.mkdir()
    for name, age_s in [("old", 4000), ("young", 0)]:
        path = store.home / f".tmp-file-{name}"
        path.touch()
        os.utime(path, (time.time() - age_s, time.time() - age_s))
    (store.home / ".tmp-file-directory" / "x").mkdir(parents=True)
    os.utime(store.home / ".tmp-file-directory", (0, 0))

    Store(store.home)

    assert [path.name for path in store.home.glob(".tmp-*")] == [".tmp-file-young"]


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_what_belongs_to_others_does_not_stop_a_store(
    store: Store, error: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of another user, or swept by another process at the same time, are passed over."""
    draft = abandon(store)
    small = store.home / ".tmp-file-x"
    small.touch()
    os.utime(small, (0, 0))

    def not_permitted(*_: object) -> int:
        raise PermissionError

    def not_there(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as system:
        system.setattr(os, "open", not_permitted)
        system.setattr(Path, "unlink", not_there)
        Store(store.home)

    assert draft.exists()
    assert small.exists()


def test_a_producer_clears_its_own_keys_drafts_only(store: Store) -> None:
    """Another key's draft is that key's business."""
    store.home.mkdir()
    other = store.home / f".tmp-{32 * '0'}-1-abc"
    other.mkdir()

    make_stats(store)

    assert other.exists()


def test_a_move_that_never_happened_leaves_the_history(store: Store) -> None:
    """The kill came between the history's line and the ref's rename."""
    a, b, c = (make_stats(store, text) for text in "abc")
    ref = "demo/aloha/current"
    store.set_ref(ref, a)
    store.set_ref(ref, b)
    (store.home / "refs" / ref).write_text(a.id + "\n")

    assert [change.id for change in store.ref_history(ref)] == [a.id]
    store.set_ref(ref, c)
    assert [change.id for change in store.ref_history(ref)] == [a.id, c.id]
