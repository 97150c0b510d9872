"""Artifacts named on the command line, and how results are told."""

import json as json_format
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from recap_core.config.environment import recap_home
from recap_core.errors import IncompatibleError
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.references import find_artifact
from recap_core.lineage.store import Store


def open_store() -> Store:
    """The store in ``RECAP_HOME``."""
    return Store(recap_home())


def artifact_of_kind[A: Artifact](store: Store, reference: str, kind: type[A], *, wanted: str) -> A:
    """The artifact that a person named to work with; it is noted as used.

    Args:
        store: Where it is.
        reference: Id, unique prefix, ``<name>-<id8>``, ref, or a ref's last part.
        kind: What it must be.
        wanted: What such an artifact is called in an error: ``a dataset``.

    Raises:
        ArtifactNotFoundError: If there is none.
        IncompatibleError: If it is of another kind.
    """
    artifact = find_artifact(store, reference)
    if not isinstance(artifact, kind):
        raise IncompatibleError(
            f"{reference} is {artifact.kind} {artifact.name}-{artifact.id[:8]}, but {wanted} "
            "was expected. See what there is with: recap lineage graph"
        )
    store.use(artifact)
    return artifact


def tell(
    artifact: Artifact,
    store: Store,
    *,
    json: bool,
    lines: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Print a new artifact: its name, ``lines``, and where it is; or JSON, ``facts`` included."""
    path = store.path(artifact)
    if json:
        told = {**artifact.model_dump(mode="json"), "path": str(path), **(facts or {})}
        told["metrics"] = store.manifest(artifact).metrics
        sys.stdout.write(json_format.dumps(told, indent=2) + "\n")
        return
    title = f"{artifact.kind.replace('_', ' ')} {artifact.name}-{artifact.id[:8]}"
    sys.stdout.write("\n".join([title, *(f"  {line}" for line in lines), f"  {path}", ""]))
