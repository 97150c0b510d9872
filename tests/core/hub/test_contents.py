"""The folder that would be uploaded."""

import json
import shutil
from pathlib import Path

import pytest

from recap_core.errors import ConfigError, CorruptArtifactError, DataError
from recap_core.hub.card_parts import CardOptions
from recap_core.hub.contents import HubContents, hub_contents, write_folder
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import TRAIN_POLICY, NoSettings
from tests.generated_store import GeneratedStore


@pytest.fixture(scope="module")
def contents(finished_rounds: GeneratedStore) -> HubContents:
    """Of a relabelled dataset."""
    store = finished_rounds.store
    dataset = store.get("handover/aloha/round-3-relabeled")
    return hub_contents(Snapshot(store), dataset, CardOptions())


def test_the_folder_is_the_artifact_and_two_texts(
    finished_rounds: GeneratedStore, contents: HubContents, tmp_path: Path
) -> None:
    """No byte is copied within a file system, and the artifact stays what it was."""
    store = finished_rounds.store
    write_folder(contents, tmp_path / "folder", store=store)

    root = store.path(contents.artifact)
    folder = tmp_path / "folder"
    ours = {p.relative_to(root): p for p in root.rglob("*") if p.is_file()}
    written = {p.relative_to(folder): p for p in folder.rglob("*") if p.is_file()}
    assert set(written) == {*ours, Path("README.md")}
    different = [str(p) for p in ours if not written[p].samefile(ours[p])]
    assert different == ["artifact.json"]
    assert json.loads((folder / "artifact.json").read_text())["host"] == ""
    assert contents.num_bytes == sum(path.stat().st_size for path in written.values())
    store.verify(contents.artifact)


@pytest.mark.parametrize("taken", ["inside", "taken"])
def test_what_exists_and_the_store_are_left_alone(
    *, finished_rounds: GeneratedStore, contents: HubContents, tmp_path: Path, taken: str
) -> None:
    """A folder in the store would look like an artifact's."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    store = finished_rounds.store
    target = store.home / "upload" if taken == "inside" else tmp_path / "taken"

    with pytest.raises((ConfigError, DataError), match=r"inside of the store|is not empty"):
        write_folder(contents, target, store=store)
    assert not (store.home / "upload").exists()


def test_a_damaged_artifact_is_not_uploaded(
    finished_rounds: GeneratedStore, tmp_path: Path
) -> None:
    """One byte of one file is enough."""
    shutil.copytree(finished_rounds.store.home, tmp_path / "home")
    store = Store(tmp_path / "home")
    policy = store.get("handover/aloha/round-3-policy")
    path = store.path(policy) / "metrics.jsonl"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-2] + b" \n")

    with pytest.raises(CorruptArtifactError, match=r"was changed"):
        hub_contents(Snapshot(store), policy, CardOptions())


def test_settings_that_name_a_directory_are_rewritten(
    finished_rounds: GeneratedStore, tmp_path: Path
) -> None:
    """A tokenizer of one's own is a path in ``policy.json``; the store's file stays as it is."""
    source = finished_rounds.store
    settings = source.path(source.get("handover/aloha/start")) / "policy.json"
    private = settings.read_text().replace('"tiny"', '"/home/ana/own.model"')
    store = Store(tmp_path / "home")

    def build(area: Build) -> Built:
        (area.output / "policy.json").write_text(private)
        return Built({"num_steps": 0, "num_params": 1, "source": "/home/ana/ckpt/29999"})

    policy = store.produce(TRAIN_POLICY, NoSettings(), {}, name="mine", build=build)
    made = hub_contents(Snapshot(store), policy, CardOptions())

    assert not made.files
    assert b"ana" not in b"".join(made.texts.values())
    uploaded = json.loads(made.texts["policy.json"])
    assert uploaded["prompt"]["tokenizer"] == "own.model"
    assert (store.path(policy) / "policy.json").read_text() == private
