"""The store as a flow sees it that only plans."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn

from recap_core.config.base import Config
from recap_core.errors import ArtifactNotFoundError
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.keys import Inputs, Stage
from recap_core.lineage.refs import check_ref
from recap_core.lineage.store import Build, Built, Store
from tasks.placeholders import is_planned


class PlanningStore(Store):
    """Reads like the store, and writes nothing: refs that are set live and die with the plan.

    Args:
        home: ``RECAP_HOME``.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._expected: dict[str, Artifact] = {}
        self._moved: dict[str, Artifact] = {}

    def expect(self, artifact: Artifact) -> None:
        """Let a placeholder be found under its id."""
        self._expected[artifact.id] = artifact

    def get(self, reference: str) -> Artifact:
        """As the store's, among placeholders and planned refs first."""
        found = self._expected.get(reference) or self._moved.get(reference)
        return super().get(reference) if found is None else found

    def path(self, artifact: Artifact) -> Path:
        """As the store's.

        Raises:
            ArtifactNotFoundError: If the artifact is a placeholder.
        """
        if is_planned(artifact):
            raise ArtifactNotFoundError(
                f"{artifact.kind} {artifact.name} is only planned, so it has no files yet"
            )
        return super().path(artifact)

    def set_ref(  # noqa: PLR0913 - as the store's
        self,
        ref: str,
        artifact: Artifact,
        *,
        by: str | None = None,
        note: str | None = None,
        is_rollback: bool = False,
        instead_of: Collection[str | None] | None = None,
    ) -> None:
        """Let the plan's later steps find ``artifact`` under ``ref``."""
        del by, note, is_rollback, instead_of
        check_ref(ref)
        self._moved[ref] = artifact

    def use(self, artifact: Artifact, *, is_named: bool = True) -> None:
        """Not noted: a plan works with nothing."""
        del artifact, is_named

    def get_ref(self, ref: str) -> Artifact | None:
        """The artifact that a ref would point to."""
        return self._moved.get(ref) or super().get_ref(ref)

    def refs(self) -> dict[str, str]:
        """Artifact id by ref, as it would be."""
        return super().refs() | {ref: artifact.id for ref, artifact in self._moved.items()}

    def produce[A: Artifact](  # noqa: PLR0913 - as the store's
        self,
        stage: Stage[A],
        config: Config,
        inputs: Inputs,
        *,
        name: str,
        build: Callable[[Build], Built],
        lock_timeout_s: float | int = 0.0,
    ) -> A:
        """Refuse: a plan makes nothing."""
        del config, inputs, build, lock_timeout_s
        _refuse(f"stage {stage.id!r} would make {name}")

    def contribute(
        self, stage: Stage[Any], config: Config, inputs: Inputs, *, work: Callable[[Path], object]
    ) -> None:
        """Refuse: a plan makes nothing."""
        del config, inputs, work
        _refuse(f"stage {stage.id!r} would be worked on")

    def remove(self, artifact: Artifact, *, reason: str = "") -> None:
        """Refuse: a plan removes nothing."""
        del reason
        _refuse(f"{artifact.name}-{artifact.id[:8]} would be removed")

    def remove_ref(self, ref: str) -> None:
        """Refuse: a plan removes nothing."""
        _refuse(f"ref {ref} would be removed")


def _refuse(what: str) -> NoReturn:
    raise RuntimeError(f"{what} while planning; ask tasks.planning.is_planning() before")
