"""Artifacts from one store to another and back."""

import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lineage_toys import STATS, ToyConfig, copies, left_over, make_report, make_stats, writes

from recap_core.errors import ArtifactError, CorruptArtifactError, DataError
from recap_core.lineage.ancestry import lineage_graph
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.bundles import INDEX_FILE
from recap_core.lineage.digests import tree_digest
from recap_core.lineage.files import remove_plain_tree
from recap_core.lineage.layout import Layout
from recap_core.lineage.locks import try_claim
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Store
from recap_core.lineage.transfer import Imported, export_directory, export_tar, import_bundle
from recap_core.progress import Bar

type Family = dict[str, Artifact]


@pytest.fixture
def family(store: Store) -> Family:
    """Root -> copy (hard links to it) -> report."""
    root = make_stats(store, "root")
    copy = store.produce(
        STATS, ToyConfig(text="copy"), {"dataset": root}, name="copy", build=copies(store, root)
    )
    return {"root": root, "copy": copy, "report": make_report(store, "page", dataset=copy)}


@pytest.fixture
def other(memory: Path) -> Store:
    """Another machine's store."""
    return Store(memory / "other")


def exported(store: Store, artifact: Artifact, target: Path, *, ancestors: bool = True) -> Path:
    """``artifact`` and its ancestors as a bundle of either form."""
    export = export_tar if target.suffix == ".tar" else export_directory
    export(Snapshot(store), [artifact], target, with_ancestors=ancestors)
    return target


@pytest.mark.parametrize("name", ["bundle", "bundle.tar"])
def test_what_arrives_is_what_was_sent(
    store: Store, other: Store, family: Family, memory: Path, name: str
) -> None:
    """Same ids, same content, read-only, found by its key; links are links again."""
    bundle = exported(store, family["report"], memory / name)

    done = import_bundle(bundle, other)

    assert [a.id for a in done.new] == [a.id for a in family.values()]
    assert [a.id for a in done.roots] == [family["report"].id]
    for artifact in family.values():
        there = other.path(other.get(artifact.id))
        other.verify(artifact)
        assert other.manifest(artifact) == store.manifest(artifact)
        assert there.stat().st_mode & 0o222 == 0
    assert other.find(STATS, ToyConfig(text="root"), {}) == family["root"]
    shared = other.path(family["copy"]) / "b.txt"
    assert shared.samefile(other.path(family["root"]) / "b.txt")
    assert not shared.samefile(store.path(family["root"]) / "b.txt")
    assert left_over(other) == []


def test_two_imports_at_once_bring_everything_once(
    store: Store, family: Family, memory: Path
) -> None:
    """Whoever comes second to an artifact waits for it, and finds it."""
    bundle = exported(store, family["report"], memory / "bundle")
    start, done = threading.Barrier(2), list[Imported]()

    def bring() -> None:
        own = Store(memory / "other")
        start.wait()
        done.append(import_bundle(bundle, own))

    threads = [threading.Thread(target=bring) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    everything = sorted(artifact.id for artifact in family.values())
    assert [sorted(a.id for a in (*one.new, *one.known)) for one in done] == [everything] * 2
    assert sorted(a.id for one in done for a in one.new) == everything
    assert left_over(Store(memory / "other")) == []


def test_an_import_says_whom_it_waits_for(
    store: Store, other: Store, family: Family, memory: Path
) -> None:
    """As a stage does that another process builds; then it goes on."""
    bundle = exported(store, family["root"], memory / "bundle")
    lock = Layout(other.home).lock(store.manifest(family["root"]).stage_key)
    held, said = try_claim(lock), list[str]()
    assert held is not None
    held.sign()

    def go_on(sentence: str) -> None:
        said.append(sentence)
        held.release()

    done = import_bundle(bundle, other, on_wait=go_on)

    assert [artifact.id for artifact in done.new] == [family["root"].id]
    (sentence,) = said
    assert sentence.startswith(f"norm_stats stats-{family['root'].id[:8]} is being built by host ")
    assert f"pid {os.getpid()}" in sentence


def test_a_second_time_changes_nothing(
    store: Store, other: Store, family: Family, memory: Path
) -> None:
    """Neither the bundle nor the other store; a bundle can be added to."""
    bundle = exported(store, family["root"], memory / "bundle")
    more = export_directory(Snapshot(store), [family["report"]], bundle, with_ancestors=True)
    again = export_directory(Snapshot(store), [family["report"]], bundle, with_ancestors=True)

    assert (more.num_copied, again.num_copied, again.num_bytes) == (2, 0, 0)
    assert import_bundle(bundle, other).num_bytes > 0
    done = import_bundle(bundle, other)
    assert (done.new, done.num_bytes) == ((), 0)
    assert [a.id for a in done.known] == [a.id for a in family.values()]


def test_an_artifact_alone_knows_that_its_parents_are_elsewhere(
    store: Store, other: Store, family: Family, memory: Path
) -> None:
    """They are nodes without a name; nothing else is missing."""
    bundle = exported(store, family["report"], memory / "bundle", ancestors=False)

    done = import_bundle(bundle, other)

    assert done.contents.elsewhere == (family["copy"].id,)
    nodes = lineage_graph(other).nodes
    assert [(node.id, node.kind) for node in nodes] == [
        (family["copy"].id, "removed"),
        (family["report"].id, "report"),
    ]


def cut(bundle: Path) -> None:
    """As a copy that stopped: a file is there in part."""
    path = next(bundle.glob("artifacts/*/*/sub/a.txt"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def flip(bundle: Path) -> None:
    """As a bad disk: one byte is another one."""
    path = next(bundle.glob("artifacts/*/*/sub/a.txt"))
    path.chmod(0o644)
    path.write_bytes(b"\x00" + path.read_bytes()[1:])


def lose(bundle: Path) -> None:
    """A file is not there."""
    path = next(bundle.glob("artifacts/*/*/b.txt"))
    path.parent.chmod(0o755)
    path.unlink()


def add(bundle: Path) -> None:
    """A file that nobody listed."""
    directory = next(bundle.glob("artifacts/norm-stats/*"))
    directory.chmod(0o755)
    (directory / "extra").touch()


def without_index(bundle: Path) -> None:
    """The last file has not come yet."""
    (bundle / INDEX_FILE).unlink()


def edit_index(bundle: Path) -> None:
    """Somebody points a ref elsewhere."""
    path = bundle / INDEX_FILE
    path.write_text(path.read_text().replace('"host": "', '"host": "x'))


def edit_manifest(bundle: Path) -> None:
    """A metric is made better."""
    path = next(bundle.glob("artifacts/norm-stats/*/artifact.json"))
    path.chmod(0o644)
    path.write_text(path.read_text().replace("0.5", "0.9"))


def link_away(bundle: Path) -> None:
    """A directory is somebody else's."""
    directory = next(bundle.glob("artifacts/norm-stats/*"))
    elsewhere = bundle.parent / "elsewhere"
    shutil.copytree(directory, elsewhere)
    remove_plain_tree(directory)
    directory.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "a.txt has 3 of 4 bytes"),
        (flip, "a.txt of norm_stats .* was damaged on the way"),
        (lose, "b.txt is missing"),
        (add, "extra is not listed"),
        (without_index, "no bundle, or not all of one yet"),
        (edit_index, "does not match its own checksum"),
        (edit_manifest, "manifest of norm_stats .* is damaged"),
        (link_away, "is a symbolic link"),
    ],
)
def test_a_damaged_bundle_is_refused(
    store: Store,
    other: Store,
    memory: Path,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    """One error that names what is wrong; nothing is published, and a good copy then works."""
    bundle = exported(store, make_stats(store, "root"), memory / "bundle")
    shutil.copytree(bundle, memory / "good")
    damage(bundle)

    with pytest.raises((DataError, CorruptArtifactError), match=message):
        import_bundle(bundle, other)

    assert list(other.artifacts()) == []
    assert len(import_bundle(memory / "good", other).new) == 1
    assert left_over(other) == []


def test_an_export_mends_a_damaged_bundle(store: Store, memory: Path) -> None:
    """What is there is not trusted before it has been read."""
    root = make_stats(store, "root")
    bundle = exported(store, root, memory / "bundle")
    flip(bundle)

    done = export_directory(Snapshot(store), [root], bundle)

    assert done.num_copied == 1
    place = bundle / done.contents.artifacts[0].directory
    assert tree_digest(place, None) == root.digest


class _Stops:
    """Somebody presses Ctrl-C once so many updates have been shown."""

    def __init__(self, after: int) -> None:
        self._left = after

    def update(self, done: int, note: str = "") -> None:
        """Count."""
        del done, note
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """Itself."""
        del label, total, done
        yield self


def test_an_interrupted_import_goes_on(
    store: Store, other: Store, family: Family, memory: Path
) -> None:
    """It stops after every file once: none is copied twice, and all of it arrives."""
    bundle = exported(store, family["report"], memory / "bundle")
    num_bytes, num_stops = 0, 0
    while True:
        try:
            num_bytes += import_bundle(bundle, other, progress=_Stops(after=num_stops)).num_bytes
            break
        except KeyboardInterrupt:
            num_stops += 1
            assert all(tree_digest(other.path(m.artifact()), None) == m.digest
                       for m in other.artifacts())  # fmt: skip

    assert num_stops > 3
    assert {m.id for m in other.artifacts()} == {a.id for a in family.values()}
    assert left_over(Store(other.home)) == []


def test_an_interrupted_export_goes_on(store: Store, memory: Path) -> None:
    """A file that is there and sound is kept; halves are not."""
    root = make_stats(store, "root")
    bundle = memory / "bundle"
    partial = bundle / f".partial-{root.id}"
    partial.mkdir(parents=True)
    (bundle / ".bundle.lock").touch()
    shutil.copy(store.path(root) / "b.txt", partial / "b.txt")
    (partial / "a.txt.copying").write_text("ro")

    done = export_directory(Snapshot(store), [root], bundle)

    place = bundle / done.contents.artifacts[0].directory
    assert tree_digest(place, None) == root.digest
    b_txt = (place / "b.txt").stat().st_size
    assert done.num_bytes == sum(f.size for f in done.contents.artifacts[0].files) - b_txt + (
        done.contents.artifacts[0].manifest.size
    )


class _Spoils:
    """Somebody changes a file while the export looks elsewhere."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def update(self, done: int, note: str = "") -> None:
        """Change it."""
        del done, note
        self._path.chmod(0o644)
        self._path.write_text("<p>!")

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """Itself."""
        del label, total, done
        yield self


def test_a_file_that_changes_during_an_export_ends_it(
    store: Store, family: Family, memory: Path
) -> None:
    """The bundle is not finished."""
    page = store.path(family["report"]) / "index.html"
    with pytest.raises(CorruptArtifactError, match="changed while it was copied"):
        export_directory(
            Snapshot(store), list(family.values()), memory / "bundle", progress=_Spoils(page)
        )
    assert not (memory / "bundle" / INDEX_FILE).exists()


def test_nothing_that_exists_is_replaced(store: Store, other: Store, memory: Path) -> None:
    """The other store's own result of the same stage key stays the one that the key finds."""
    theirs = other.produce(STATS, ToyConfig(), {}, name="stats", build=writes("theirs"))
    mine = store.produce(STATS, ToyConfig(), {}, name="stats", build=writes("mine"))
    bundle = exported(store, mine, memory / "bundle")

    import_bundle(bundle, other)

    assert other.find(STATS, ToyConfig(), {}) == theirs
    assert other.get(mine.id) == mine
    assert len(list(other.artifacts())) == 2


def test_a_damaged_artifact_is_replaced_by_the_sound_one(
    store: Store, other: Store, memory: Path
) -> None:
    """The damaged one is moved aside, as always."""
    root = make_stats(store, "root")
    bundle = exported(store, root, memory / "bundle")
    import_bundle(bundle, other)
    path = other.path(root) / "b.txt"
    path.chmod(0o644)
    path.write_text("c")

    assert len(import_bundle(bundle, other).new) == 1

    other.verify(root)
    assert len(list((other.home / "artifacts" / ".corrupt").iterdir())) == 1


def test_a_directory_that_is_no_bundle_is_left_alone(store: Store, memory: Path) -> None:
    """As is a file, also a tar file that exists."""
    root = make_stats(store, "root")
    (memory / "full").mkdir()
    (memory / "full" / "thesis.tex").touch()
    (memory / "old.tar").touch()

    with pytest.raises(DataError, match=r"not empty and no bundle .thesis.tex"):
        export_directory(Snapshot(store), [root], memory / "full")
    with pytest.raises(DataError, match="is a file"):
        export_directory(Snapshot(store), [root], memory / "old.tar")
    with pytest.raises(DataError, match="exists"):
        export_tar(Snapshot(store), [root], memory / "old.tar")
    export_tar(Snapshot(store), [root], memory / "old.tar", overwrite=True)


@pytest.mark.parametrize(
    ("path", "message"),
    [("../../../evil", "no path inside"), ("/etc/evil", "no path inside"), ("a//b", "no path")],
)
def test_no_path_leaves_a_bundle(
    store: Store, other: Store, memory: Path, path: str, message: str
) -> None:
    """Whatever the index says."""
    bundle = exported(store, make_stats(store, "root"), memory / "bundle")
    index = json.loads((bundle / INDEX_FILE).read_text())
    index["artifacts"][0]["files"][0]["path"] = path
    (bundle / INDEX_FILE).write_text(json.dumps(index))

    with pytest.raises(DataError, match=message):
        import_bundle(bundle, other)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """A member that no export writes."""
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


@pytest.mark.parametrize(
    ("evil", "message"),
    [
        (member("../evil"), "is not listed"),
        (member("/etc/evil"), "is not listed"),
        (member("a", tarfile.SYMTYPE, "/etc/passwd"), "neither a file nor a hard link"),
        (member("a", tarfile.FIFOTYPE), "neither a file nor a hard link"),
        (member("a", tarfile.LNKTYPE, "/etc/passwd"), "not before it"),
        (member(INDEX_FILE), "is there twice"),
    ],
)
def test_a_tar_file_with_anything_else_in_it_is_refused(
    store: Store, other: Store, memory: Path, evil: tarfile.TarInfo, message: str
) -> None:
    """Nothing is unpacked by the names in it, and nothing else is even read."""
    bundle = exported(store, make_stats(store, "root"), memory / "bundle.tar")
    bundle.chmod(0o644)
    with tarfile.open(bundle, "a") as archive:
        archive.addfile(evil, io.BytesIO())

    with pytest.raises(DataError, match=message):
        import_bundle(bundle, other)


def test_half_a_tar_file_is_refused(store: Store, other: Store, memory: Path) -> None:
    """Wherever it was cut; so is a compressed one, and none."""
    content = exported(store, make_stats(store, "root"), memory / "bundle.tar").read_bytes()
    half = memory / "half.tar"
    for size in range(0, len(content.rstrip(b"\0")), 256):
        half.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"half.tar"):
            import_bundle(half, other)
    with pytest.raises(DataError, match="there is no bundle at"):
        import_bundle(memory / "nosuch", other)
    assert list(other.artifacts()) == []


def test_a_bundle_of_a_newer_version_is_refused(store: Store, other: Store, memory: Path) -> None:
    """With the advice to update."""
    bundle = exported(store, make_stats(store, "root"), memory / "bundle")
    path = bundle / INDEX_FILE
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))

    with pytest.raises((DataError, ArtifactError), match="Update recap"):
        import_bundle(bundle, other)
