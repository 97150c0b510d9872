"""What artifacts added to the disk."""

from recap_core.lineage.files import walk
from recap_core.lineage.layout import MANIFEST_FILE
from recap_core.lineage.new_files import new_bytes
from tests.generated_store import GeneratedStore


def test_every_file_is_counted_once(finished_rounds: GeneratedStore) -> None:
    """Over all artifacts, shared or not; a copy of links adds nothing."""
    store = finished_rounds.store
    manifests = {manifest.id: manifest for manifest in store.artifacts()}
    files = {
        file.stat.st_ino: file.stat.st_size
        for manifest in manifests.values()
        for file in walk(store.path(manifest.artifact())).files
        if file.relative != MANIFEST_FILE
    }

    sizes = {id_: new_bytes(store, found, manifests) for id_, found in manifests.items()}

    assert sum(size or 0 for size in sizes.values()) == sum(files.values()) > 0
    assert {sizes[id_] for id_, found in manifests.items() if found.kind == "dataset_copy"} == {0}


def test_files_of_a_removed_input_are_the_copy_s_own(finished_rounds: GeneratedStore) -> None:
    """They would be gone if it were; what cannot be listed is not known."""
    store = finished_rounds.store
    manifests = {manifest.id: manifest for manifest in store.artifacts()}
    copy = next(found for found in manifests.values() if found.kind == "dataset_copy")

    size = new_bytes(store, copy, {copy.id: copy})

    files = walk(store.path(copy.artifact())).files
    assert size == sum(f.stat.st_size for f in files if f.relative != MANIFEST_FILE) > 0
    assert new_bytes(store, copy.model_copy(update={"id": "0" * 32}), manifests) is None
