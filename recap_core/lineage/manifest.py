"""``artifact.json``: what an artifact is, what it was made from, how and when."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from recap_core.errors import ArtifactError, ArtifactNotFoundError, CorruptArtifactError
from recap_core.lineage.artifacts import KINDS, Artifact
from recap_core.lineage.layout import MANIFEST_FILE

SCHEMA_VERSION = 1


def _finite(value: Any) -> Any:  # noqa: ANN401 - pydantic validates what comes out
    return None if isinstance(value, float) and not math.isfinite(value) else value


type Metric = Annotated[float | None, BeforeValidator(_finite)]
"""A number; JSON has no NaN or infinity, so those are kept as None."""


class Parent(BaseModel):
    """One input of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    id: str


class Manifest(BaseModel):
    """Everything the store knows of one artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: int = SCHEMA_VERSION
    kind: str
    name: str
    id: str
    digest: str
    """xxh3-128 of the content tree."""
    stage: str
    stage_version: int
    stage_key: str
    config: dict[str, Any]
    """Semantic settings that differ from their defaults."""
    parents: tuple[Parent, ...] = ()
    details: dict[str, Any] = {}
    """The fields that only this kind of artifact has."""
    metrics: dict[str, Metric] = Field(default={})
    code_version: str
    libraries: dict[str, str] = {}
    host: str
    started_at: AwareDatetime
    finished_at: AwareDatetime

    def artifact(self) -> Artifact:
        """The typed handle.

        Raises:
            ArtifactError: If this version does not know the kind, or its details do not fit.
        """
        kind = KINDS.get(self.kind)
        if kind is None:
            raise ArtifactError(
                f"artifact {self.name}-{self.id[:8]} is a {self.kind!r}, which this version does "
                f"not know (it knows {', '.join(sorted(KINDS))}). Update recap."
            )
        try:
            return kind(
                id=self.id,
                name=self.name,
                digest=self.digest,
                parents=tuple(parent.id for parent in self.parents),
                **self.details,
            )
        except (ValidationError, TypeError) as error:
            raise ArtifactError(
                f"details of {self.name}-{self.id[:8]} do not describe a {self.kind}: {error}"
            ) from error


READERS: Mapping[int, Callable[[dict[str, Any]], Manifest]] = {1: Manifest.model_validate}
"""How to read each schema version; a new version adds a row and keeps the old ones."""


def parse_manifest(text: str, *, where: Path) -> Manifest:
    """Read a manifest of this or an older schema version.

    Raises:
        ArtifactError: If it was written by a newer version of recap.
        CorruptArtifactError: If it is not a manifest.
    """
    try:
        content = json.loads(text)
        version = content["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ArtifactError(
                f"{where} has manifest schema version {version}; this recap reads up to version "
                f"{SCHEMA_VERSION}. Update recap to use the artifact."
            )
        return READERS[version](content)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{where} is not a manifest: {error}") from error


def read_manifest(directory: Path) -> Manifest:
    """Manifest of the artifact in ``directory``.

    Raises:
        ArtifactNotFoundError: If the directory does not exist.
        CorruptArtifactError: If it holds no readable manifest.
        ArtifactError: If the manifest was written by a newer version of recap.
    """
    path = directory / MANIFEST_FILE
    try:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:  # garbage collection may just have moved it away, and back
            text = path.read_text(encoding="utf-8")
        return parse_manifest(text, where=path)
    except OSError as error:
        if not directory.is_dir():
            raise ArtifactNotFoundError(f"there is no artifact at {directory}") from error
        raise CorruptArtifactError(f"{path} cannot be read: {error.strerror}") from error
