"""What a bundle may say of itself, and what of that is believed."""

import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import xxhash
from lineage_toys import make_report, make_stats

from recap_core.errors import (
    ArtifactError,
    ArtifactNotFoundError,
    CorruptArtifactError,
    DataError,
)
from recap_core.lineage import bundles
from recap_core.lineage.bundles import (
    INDEX_FILE,
    BundledArtifact,
    BundledFile,
    BundleIndex,
    parse_index,
)
from recap_core.lineage.files import remove_plain_tree
from recap_core.lineage.keys import artifact_id
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Store
from recap_core.lineage.transfer import export_directory, import_bundle

OTHER_ID = "0123456789abcdef" * 2


@pytest.fixture
def bundle(store: Store, memory: Path) -> Path:
    """Of one artifact."""
    target = memory / "bundle"
    root = make_stats(store, "root")
    export_directory(Snapshot(store), [root], target)
    return target


@pytest.fixture
def other(memory: Path) -> Store:
    """Another machine's store."""
    return Store(memory / "other")


def rewrite(bundle: Path, **changes: Any) -> BundledArtifact:  # noqa: ANN401 - any field
    """Say something else of the artifact, with a checksum that fits; as it was before."""
    path = bundle / INDEX_FILE
    index = parse_index(path.read_bytes())
    (entry,) = index.artifacts
    changed = BundleIndex.model_validate(
        index.model_dump() | {"artifacts": (entry.model_copy(update=changes),)}
    )
    path.write_text(changed.sealed().model_dump_json())
    return entry


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "hologram"}, "'hologram', which this version does not know. Update recap"),
        ({"name": "../up"}, "'../up' is no artifact's name"),
        ({"id": OTHER_ID}, "does not hash to its own id"),
        ({"stage_key": OTHER_ID}, "does not hash to its own id"),
        ({"digest": OTHER_ID}, "do not give its own digest"),
        ({"name": "another"}, "norm-stats/another-.* is missing"),
    ],
)
def test_an_index_that_contradicts_itself_is_refused(
    bundle: Path, other: Store, changes: dict[str, str], message: str
) -> None:
    """A checksum proves nothing to somebody who can compute it."""
    rewrite(bundle, **changes)
    with pytest.raises(DataError, match=message):
        import_bundle(bundle, other)


def test_the_manifest_is_the_stores_own_file(bundle: Path) -> None:
    """It has its name, no other file has, and no artifact is listed twice."""
    index = parse_index((bundle / INDEX_FILE).read_bytes())
    (entry,) = index.artifacts
    renamed = entry.manifest.model_copy(update={"path": "m.json"})
    for artifacts, message in (
        ((entry.model_copy(update={"manifest": renamed}),), "calls its manifest 'm.json'"),
        ((entry, entry), "lists an artifact twice"),
    ):
        with pytest.raises(DataError, match=message):
            index.model_copy(update={"artifacts": artifacts}).sealed().check()


def test_content_never_replaces_the_manifest(bundle: Path) -> None:
    """Even where every digest fits."""
    index = parse_index((bundle / INDEX_FILE).read_bytes())
    file = BundledFile(path="artifact.json", size=1, digest=OTHER_ID)
    digest = xxhash.xxh3_128_hexdigest(f"artifact.json\0{OTHER_ID}\n".encode())
    entry = index.artifacts[0].model_copy(
        update={
            "files": (file,),
            "digest": digest,
            "id": artifact_id("norm_stats", index.artifacts[0].stage_key, digest),
        }
    )
    with pytest.raises(DataError, match=r"lists artifact.json as content"):
        entry.check()


def test_a_manifest_of_another_artifact_is_refused(
    bundle: Path, other: Store, store: Store, memory: Path
) -> None:
    """Even where its own digest is listed."""
    report = make_report(store)
    export_directory(Snapshot(store), [report], memory / "second")
    theirs = next((memory / "second").glob("artifacts/*/*/artifact.json"))
    mine = next(bundle.glob("artifacts/*/*/artifact.json"))
    mine.parent.chmod(0o755)
    mine.unlink()
    shutil.copy(theirs, mine)
    index = parse_index((memory / "second" / INDEX_FILE).read_bytes())
    rewrite(bundle, manifest=index.artifacts[0].manifest)

    with pytest.raises(DataError, match="is that of another artifact"):
        import_bundle(bundle, other)


def test_what_is_not_in_the_store_is_not_exported(store: Store, memory: Path) -> None:
    """A bundle without it would look as if it were complete."""
    before = Snapshot(store)
    report = make_report(store)
    with pytest.raises(ArtifactNotFoundError, match=r"report report-.* is not in"):
        export_directory(before, [report], memory / "none")


def test_what_is_too_large_to_be_an_index_is_not_read(
    bundle: Path, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gigabyte is enough."""
    monkeypatch.setattr(bundles, "MAX_INDEX_BYTES", 10)
    with pytest.raises(DataError, match="larger than 10 bytes"):
        import_bundle(bundle, other)


def test_a_link_inside_of_an_artifact_is_refused(bundle: Path, other: Store) -> None:
    """As everywhere in a store."""
    path = next(bundle.glob("artifacts/*/*/b.txt"))
    path.parent.chmod(0o755)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="is a symbolic link"):
        import_bundle(bundle, other)


def test_a_tar_file_that_is_no_bundle_is_refused(memory: Path, other: Store) -> None:
    """Empty, of something else, or compressed."""
    (memory / "notes.txt").write_text("notes")
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz")):
        with tarfile.open(memory / name, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType] - any mode
            archive.add(memory / "notes.txt", "notes.txt")
            archive.add(memory, "directory", recursive=False)
        with pytest.raises(DataError, match=r"this is no bundle|nor an uncompressed tar file"):
            import_bundle(memory / name, other)


def test_a_damaged_index_stops_an_export(bundle: Path, store: Store) -> None:
    """Nothing is added to what cannot be read."""
    (bundle / INDEX_FILE).write_text("{")
    report = make_report(store)
    with pytest.raises(DataError, match="Remove the bundle, and export it again"):
        export_directory(Snapshot(store), [report], bundle)


def test_an_export_replaces_what_is_no_artifact(bundle: Path, store: Store) -> None:
    """A link in the place of a file, and litter of an interrupted copy."""
    root = make_stats(store, "root")
    path = next(bundle.glob("artifacts/*/*/b.txt"))
    path.parent.chmod(0o755)
    path.unlink()
    path.symlink_to("/etc/passwd")
    litter = bundle / f".partial-{root.id}" / "b.txt.copying"
    litter.parent.mkdir()
    litter.write_text("half")

    assert export_directory(Snapshot(store), [root], bundle).num_copied == 1
    assert not path.is_symlink()
    assert not list(bundle.rglob("*.copying"))


def test_an_artifact_that_is_damaged_in_the_store_is_not_exported(
    store: Store, memory: Path
) -> None:
    """It names the file's directory, as every stage does."""
    root = make_stats(store, "root")
    path = store.path(root) / "b.txt"
    path.chmod(0o644)
    path.write_text("c")
    with pytest.raises(CorruptArtifactError, match="was changed, added or removed"):
        export_directory(Snapshot(store), [root], memory / "bundle")


def test_adoption_trusts_neither_manifest_nor_files(store: Store, other: Store) -> None:
    """An edited manifest, and files that are not what it says; nothing is left of either."""
    manifest = store.manifest(make_stats(store, "root"))
    edited = manifest.model_copy(update={"digest": OTHER_ID})

    def fill(directory: Path) -> None:
        (directory / "b.txt").write_text("something else")

    with pytest.raises(CorruptArtifactError, match="does not hash to its own id"):
        other.adopt(edited, fill)
    with pytest.raises(CorruptArtifactError, match="damaged on the way"):
        other.adopt(manifest, fill)
    with pytest.raises(ArtifactError, match="hologram"):
        other.adopt(manifest.model_copy(update={"kind": "hologram"}), fill)
    assert list(other.artifacts()) == []
    assert list((other.home / "work").iterdir()) == []


def test_partial_work_of_a_stage_outlives_an_import(
    bundle: Path, store: Store, other: Store
) -> None:
    """Files of an interrupted import that do not belong to the artifact are removed."""
    manifest = store.manifest(make_stats(store, "root"))
    litter = other.home / "work" / manifest.stage_key / f"incoming-{manifest.id}" / "x.copying"
    litter.parent.mkdir(parents=True)
    litter.write_text("half")
    training = litter.parents[1] / "training"
    training.mkdir()

    (artifact,) = import_bundle(bundle, other).new

    assert training.is_dir()  # until the store is opened again: its key is published now

    assert not (other.path(artifact) / "x.copying").exists()
    remove_plain_tree(bundle)
    other.verify(artifact)
