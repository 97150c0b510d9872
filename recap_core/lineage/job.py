"""One thing to be made: what a stage is called with, and how its result is described."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from recap_core.config.base import Config
from recap_core.errors import ArtifactError
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.keys import Inputs, Stage, artifact_id, each_input
from recap_core.lineage.manifest import Manifest, Parent


class Build(NamedTuple):
    """Where a build function writes."""

    output: Path
    """Empty directory to fill with the artifact; in the store's file system."""
    work: Path
    """Directory of resumable partial work; kept until the stage key is published."""


class Built(NamedTuple):
    """What a build function says of its result."""

    details: Mapping[str, Any]
    """The fields that only this kind of artifact has."""
    metrics: Mapping[str, float] = {}
    """Numbers about the result; NaN and infinity are recorded as None."""


class Code(NamedTuple):
    """What runs in this process."""

    version: str
    libraries: dict[str, str]


@dataclass(frozen=True)
class Job[A: Artifact]:
    """One call of :meth:`~recap_core.lineage.store.Store.produce`."""

    stage: Stage[A]
    config: Config
    inputs: Inputs
    name: str
    key: str
    code: Code

    @property
    def subject(self) -> str:
        """For messages."""
        return f"stage {self.stage.id!r} (key {self.key[:8]})"

    def describe(self, built: Built, digest: str, started_at: datetime) -> Manifest:
        """The manifest of its result, which is finished now.

        Args:
            built: What the build function says of it.
            digest: Of its files.
            started_at: When the build began.

        Raises:
            ArtifactError: If the build function's numbers are none.
        """
        try:
            return Manifest(
                kind=self.stage.kind,
                name=self.name,
                id=artifact_id(self.stage.kind, self.key, digest),
                digest=digest,
                stage=self.stage.id,
                stage_version=self.stage.version,
                stage_key=self.key,
                config=self.config.semantic(),
                parents=tuple(Parent(role=role, id=a.id) for role, a in each_input(self.inputs)),
                details=dict(built.details),
                metrics=dict(built.metrics),
                code_version=self.code.version,
                libraries=self.code.libraries,
                host=socket.gethostname(),
                started_at=started_at,
                finished_at=datetime.now(UTC),
            )
        except ValidationError as error:
            raise ArtifactError(f"{self.subject} described its result wrongly: {error}") from error
