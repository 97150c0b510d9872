"""Artifacts and inputs whose content is not what was published."""

import fcntl
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lineage_toys import (
    STATS,
    ToyConfig,
    age,
    copies,
    damage,
    make_report,
    make_stats,
    writes,
)

from recap_core.errors import (
    ArtifactError,
    ArtifactNotFoundError,
    CorruptArtifactError,
)
from recap_core.lineage.files import remove_plain_tree
from recap_core.lineage.keys import stage_key
from recap_core.lineage.locks import claim, try_claim
from recap_core.lineage.store import Build, Built, Store


@pytest.mark.parametrize(
    "kind", ["content", "added", "removed", "link", "no manifest", "edited manifest"]
)
def test_a_damaged_artifact_is_moved_aside_and_rebuilt(
    store: Store, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning; the same content gives the same id again."""
    artifact = make_stats(store)
    damage(store.path(artifact), kind)

    assert store.find(STATS, ToyConfig(text="hello"), {}) is None

    assert "Moved to" in caplog.text
    assert len(list((store.home / "artifacts" / ".corrupt").iterdir())) == 1
    assert list(store.artifacts()) == []
    assert make_stats(store) == artifact
    store.verify(artifact)


def test_a_wrong_cache_cannot_condemn_a_sound_artifact(store: Store) -> None:
    """A mismatch is confirmed by reading the files."""
    artifact = make_stats(store)
    age()
    store.digests.put([((store.path(artifact) / "b.txt").stat(), "0" * 32)])

    assert store.find(STATS, ToyConfig(text="hello"), {}) == artifact


def test_verify_knows_a_handle_of_other_content(store: Store) -> None:
    """A handle with the right place and another digest is not this artifact."""
    artifact = make_stats(store)

    with pytest.raises(CorruptArtifactError, match=r"not .* with digest 0"):
        store.verify(artifact.model_copy(update={"digest": "0"}))


def test_damage_found_while_somebody_builds_is_left_to_them(store: Store) -> None:
    """Whoever holds the key's lock moves the artifact aside."""
    artifact = make_stats(store)
    damage(store.path(artifact), "added")
    lock = store.home / "locks" / stage_key(STATS, ToyConfig(text="hello"), {})

    with claim(lock, timeout_s=0, subject="x"):
        assert store.find(STATS, ToyConfig(text="hello"), {}) is None
        assert store.path(artifact).is_dir()


def test_damage_is_also_found_under_the_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that waited finds the artifact damaged meanwhile, and builds it again."""
    config = ToyConfig(text="hello")
    other = Store(store.home.parent / "other")
    made = other.path(make_stats(other))
    held = try_claim(store.home / "locks" / stage_key(STATS, config, {}))
    assert held is not None

    def sleep(_: float) -> None:
        """What another process does while the producer waits for it."""
        shutil.copytree(made.parent, store.home / "artifacts/norm-stats")
        shutil.copytree(other.home / "index", store.home / "index")
        damage(store.home / "artifacts/norm-stats" / made.name, "removed")
        held.release()

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    with monkeypatch.context() as system:
        system.setattr("recap_core.lineage.locks.time", clock)
        result = make_stats(store)

    assert result == store.find(STATS, config, {})
    assert len(list((store.home / "artifacts" / ".corrupt").iterdir())) == 1


def test_damage_repaired_by_somebody_else_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look and the lock, another process put a sound artifact in place."""
    artifact = make_stats(store)
    path, real = store.path(artifact), fcntl.flock
    damage(path, "added")

    def repair_then_lock(descriptor: int, operation: int) -> None:
        (path / "new").unlink(missing_ok=True)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", repair_then_lock)

    assert store.find(STATS, ToyConfig(text="hello"), {}) is None
    assert store.find(STATS, ToyConfig(text="hello"), {}) == artifact


def test_an_artifact_removed_while_it_is_looked_up_is_not_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the index and the manifest, another process took it away."""
    path = store.path(make_stats(store))
    real = Path.read_text

    def remove_then_read(file: Path, *arguments: str, **options: str) -> str:
        if file.name == "artifact.json":
            remove_plain_tree(path)
        return real(file, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", remove_then_read)

    assert store.find(STATS, ToyConfig(text="hello"), {}) is None


@pytest.mark.parametrize("is_put_back", [False, True])
@pytest.mark.parametrize("moment", ["artifact.json", "b.txt"])
def test_an_artifact_moved_while_it_is_verified_is_not_called_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch, *, moment: str, is_put_back: bool
) -> None:
    """Garbage collection took it away, and put it back if it was wanted."""
    artifact = make_stats(store)
    path, aside, real = store.path(artifact), store.home / "aside", Path.open

    def move_then_open(file: Path, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        if file.name != moment or aside.exists():
            return real(file, *arguments, **options)
        path.rename(aside)
        try:
            return real(file, *arguments, **options)
        finally:
            if is_put_back:
                aside.rename(path)
                aside.touch()

    monkeypatch.setattr(Path, "open", move_then_open)
    if is_put_back:
        store.verify(artifact)
    else:
        with pytest.raises(ArtifactNotFoundError, match="no artifact at"):
            store.verify(artifact)
    assert aside.exists()


def test_a_newer_artifact_is_not_taken_for_damage(store: Store) -> None:
    """Going back to an older recap must not move anything aside."""
    artifact = make_stats(store)
    path = store.path(artifact)
    path.chmod(0o755)
    (path / "artifact.json").unlink()
    (path / "artifact.json").write_text('{"schema_version": 99}')

    with pytest.raises(ArtifactError, match="schema version 99"):
        store.find(STATS, ToyConfig(text="hello"), {})
    assert path.is_dir()
    assert list(store.artifacts()) == []


def test_parents_are_recorded_with_their_roles(store: Store) -> None:
    """In the manifest with roles, in the handle as ids."""
    a, b = make_stats(store, "a"), make_stats(store, "b")
    inputs = {"many": [a, b], "none": None}

    artifact = store.produce(STATS, ToyConfig(), inputs, name="a", build=writes())

    assert artifact.parents == (a.id, b.id)
    assert [(p.role, p.id) for p in store.manifest(artifact).parents] == [
        ("many", a.id),
        ("many", b.id),
    ]


def test_a_damaged_input_stops_the_build_before_it_starts(store: Store) -> None:
    """The role and the artifact are named."""
    source = make_stats(store)
    damage(store.path(source), "content")
    calls: list[Path] = []

    with pytest.raises(
        CorruptArtifactError, match=r"input 'source' of .* damaged before the build"
    ):
        store.produce(STATS, ToyConfig(), {"source": source}, name="a", build=writes(calls=calls))
    assert calls == []


def test_a_build_that_writes_through_a_link_is_caught(store: Store) -> None:
    """As root the read-only bits do not help; the digest does, and nothing is published."""
    source = make_stats(store)

    def build(build: Build) -> Built:
        built = copies(store, source)(build)
        (build.output / "b.txt").chmod(0o644)
        (build.output / "b.txt").write_text("c")
        return built

    with pytest.raises(CorruptArtifactError, match=r"input 'source' of .* damaged after the build"):
        store.produce(STATS, ToyConfig(), {"source": source}, name="a", build=build)
    assert [m.id for m in store.artifacts()] == [source.id]


def test_an_input_of_another_store_is_refused(store: Store, tmp_path: Path) -> None:
    """Its files are not here."""
    foreign = make_stats(Store(tmp_path / "other"))

    with pytest.raises(ArtifactNotFoundError, match="belongs to another store"):
        make_report(store, source=foreign)


def test_a_linked_copy_costs_no_bytes_and_no_reading(store: Store) -> None:
    """Same inodes, same digest of the source, and both sides' digests are known afterwards."""
    source = make_stats(store)
    age()
    store.verify(source)

    copy = store.produce(
        STATS, ToyConfig(), {"s": source}, name="copy", build=copies(store, source)
    )

    for name in ("b.txt", "sub/a.txt"):
        assert (store.path(copy) / name).samefile(store.path(source) / name)
        assert store.digests.get([(store.path(copy) / name).stat()]) != [None]
    store.verify(source)
