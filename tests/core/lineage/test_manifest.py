"""Reading and writing ``artifact.json``."""

import json
from pathlib import Path

import pytest
from lineage_toys import make_stats

from recap_core.errors import ArtifactError, ArtifactNotFoundError, CorruptArtifactError
from recap_core.lineage.artifacts import NormStats
from recap_core.lineage.manifest import SCHEMA_VERSION, Manifest, parse_manifest, read_manifest
from recap_core.lineage.store import Store


@pytest.fixture
def manifest(store: Store) -> Manifest:
    """The manifest of a published artifact."""
    return store.manifest(make_stats(store))


def test_a_manifest_survives_its_own_text(manifest: Manifest) -> None:
    """What was written is what is read."""
    assert parse_manifest(manifest.model_dump_json(), where=Path("x")) == manifest


def test_a_version_1_manifest_stays_readable() -> None:
    """The text below is what version 1 wrote; it must be read for ever."""
    text = """{"schema_version": 1, "kind": "norm_stats", "name": "stats",
      "id": "c0596f1c58eb32f05e1a8250644397f6", "digest": "dc157d57aa899c4a8a2a1cabdd13bcb9",
      "stage": "norm", "stage_version": 1, "stage_key": "1ac7a9f656f1ddf34f02da678ac01230",
      "config": {"a": 1}, "parents": [{"role": "dataset", "id": "00"}],
      "details": {"num_frames": 3}, "metrics": {"loss": null}, "code_version": "0.1.0",
      "libraries": {"jax": "0.10"}, "host": "vm",
      "started_at": "2026-11-21T03:21:11Z", "finished_at": "2026-11-21T03:21:12Z"}"""

    manifest = parse_manifest(text, where=Path("x"))

    assert manifest.artifact() == NormStats(
        id="c0596f1c58eb32f05e1a8250644397f6",
        name="stats",
        digest="dc157d57aa899c4a8a2a1cabdd13bcb9",
        parents=("00",),
        num_frames=3,
    )


def test_a_newer_manifest_names_both_versions() -> None:
    """The reader is told which version the file has, and which ones it can read."""
    text = json.dumps({"schema_version": SCHEMA_VERSION + 1, "anything": "new"})

    with pytest.raises(ArtifactError, match=r"version 2; this recap reads up to version 1"):
        parse_manifest(text, where=Path("x"))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 0}', '{"schema_version": 1}', '"text"', "{"]
)
def test_what_is_no_manifest_is_corrupt(text: str) -> None:
    """Cut, foreign or empty text is damage, not a crash."""
    with pytest.raises(CorruptArtifactError, match="x is not a manifest"):
        parse_manifest(text, where=Path("x"))


def test_missing_artifact_and_missing_manifest_are_told_apart(tmp_path: Path) -> None:
    """No directory: not found. No manifest in it: corrupt."""
    with pytest.raises(ArtifactNotFoundError, match="no artifact at"):
        read_manifest(tmp_path / "gone")
    with pytest.raises(CorruptArtifactError, match="cannot be read"):
        read_manifest(tmp_path)


def test_an_unknown_kind_asks_for_an_update(manifest: Manifest) -> None:
    """An artifact of a later version of recap cannot become a handle here."""
    with pytest.raises(ArtifactError, match=r"is a 'hologram', which this version does not know"):
        manifest.model_copy(update={"kind": "hologram"}).artifact()


@pytest.mark.parametrize("details", [{}, {"num_frames": 1, "more": 2}, {"num_frames": 1, "id": 1}])
def test_details_must_describe_the_kind(manifest: Manifest, details: dict[str, int]) -> None:
    """A missing, an unknown and a reserved field are refused."""
    with pytest.raises(ArtifactError, match="do not describe a norm_stats"):
        manifest.model_copy(update={"details": details}).artifact()
