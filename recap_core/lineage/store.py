"""The artifact store: find what exists, build what does not, and name results."""

import logging
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import recap_core
from recap_core.config.base import Config
from recap_core.errors import (
    ArtifactError,
    ArtifactNotFoundError,
    CorruptArtifactError,
    StageLockedError,
)
from recap_core.lineage.adoption import adopt
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.catalog import Catalog
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.job import Build, Built, Code, Job
from recap_core.lineage.keys import Inputs, Stage, each_input, stage_key
from recap_core.lineage.layout import Layout, check_name
from recap_core.lineage.links import remove_tree
from recap_core.lineage.locks import claim
from recap_core.lineage.manifest import Manifest, read_manifest
from recap_core.lineage.mounts import digest_cache_path
from recap_core.lineage.provenance import code_version, library_versions
from recap_core.lineage.publish import (
    Shelf,
    clear_drafts,
    finish,
    move_aside,
    naming_disk_errors,
    publish,
    seal,
    sweep,
    verify,
)
from recap_core.lineage.refs import RefChange, Refs, check_ref
from recap_core.lineage.removal import take_away
from recap_core.lineage.tombstones import Tombstone, removed_artifacts, why_missing
from recap_core.lineage.uses import Service, note_use, service

_log = logging.getLogger(__name__)

DAY_S = 86_400.0


class Store:
    """A directory of immutable artifacts, their lineage, and refs to them.

    Opening it removes what killed processes left behind; nothing is created before it is needed.
    A store may be used by many threads and processes at once.

    Args:
        home: ``RECAP_HOME``.
        refresh: Ids of stages that ``produce`` executes although their results exist. A result
            that differs takes the place of the old one, which is still there under its id.
    """

    def __init__(self, home: Path, *, refresh: Collection[str] = ()) -> None:
        self.home = home.absolute()
        self._refresh = frozenset(refresh)
        self.digests = DigestCache(digest_cache_path(self.home))
        self._layout = Layout(self.home)
        self._catalog = Catalog(self._layout)
        self._refs = Refs(self._layout)
        self._shelf = Shelf(self._layout, self._catalog, self.digests)
        if self.home.is_dir():
            sweep(self._shelf)

    def find[A: Artifact](self, stage: Stage[A], config: Config, inputs: Inputs) -> A | None:
        """The published artifact of this stage, config and inputs, its content verified.

        A damaged artifact is moved to ``artifacts/.corrupt/`` with a warning, and None returned.

        Raises:
            ArtifactError: If its manifest was written by a newer version of recap, or the stage
                produces another kind now without a new version.
        """
        return self._find(stage, stage_key(stage, config, inputs), is_locked=False)

    def produce[A: Artifact](  # noqa: PLR0913 - stage, config, inputs are the key; the rest by name
        self,
        stage: Stage[A],
        config: Config,
        inputs: Inputs,
        *,
        name: str,
        build: Callable[[Build], Built],
        lock_timeout_s: float | int = DAY_S,
    ) -> A:
        """Return the artifact of this stage, config and inputs, building it if necessary.

        If another process or thread builds the same key, wait for it and return its result. The
        artifact appears by one rename, so a crash at any instant leaves nothing or all of it.

        Args:
            stage: What is made.
            config: Its semantic settings.
            inputs: Input artifacts by role.
            name: Name of a new artifact: 1 to 64 of ``a-z 0-9 . _ -``.
            build: Fills ``output``, resuming from ``work`` if that holds anything. It must not
                write into an input, not even through a hard link.
            lock_timeout_s: Longest wait for another producer, seconds.

        Raises:
            StageLockedError: If the other producer did not finish in time.
            CorruptArtifactError: If an input differs from its manifest before or after the build.
            ArtifactNotFoundError: If an input is not in this store.
            ArtifactError: If the name is invalid, the output cannot be published, or the disk is
                full. Whatever ``build`` raises passes through; ``work`` is kept.
        """
        check_name(name, "artifact name")
        key = stage_key(stage, config, inputs)
        is_refreshed = stage.id in self._refresh
        found = None if is_refreshed else self._find(stage, key, is_locked=False)
        if found is not None:
            return found
        job = Job(stage, config, inputs, name, key, self._code)
        with (
            naming_disk_errors(self.home, subject=job.subject),
            claim(
                self._layout.lock(job.key),
                timeout_s=lock_timeout_s,
                subject=job.subject,
                inputs=tuple(artifact.id for _, artifact in each_input(inputs)),
            ),
        ):
            found = None if is_refreshed else self._find(stage, job.key, is_locked=True)
            artifact = found or self._build(job, build)
            finish(job.key, self._shelf)
        return artifact

    def help_produce[A: Artifact](
        self,
        stage: Stage[A],
        config: Config,
        inputs: Inputs,
        *,
        work: Callable[[Path], object],
        publish_timeout_s: float | int = 3600.0,
    ) -> A:
        """Take part in what another process produces, and return its result.

        Args:
            stage: As the producer's.
            config: As the producer's.
            inputs: As the producer's.
            work: This process's part, given the same directory of partial work; not called if the
                artifact exists.
            publish_timeout_s: Longest wait for the artifact once ``work`` is done, seconds.

        Raises:
            ArtifactNotFoundError: If the producer did not publish in time.
        """
        self.contribute(stage, config, inputs, work=work)
        key = stage_key(stage, config, inputs)
        deadline = time.monotonic() + publish_timeout_s
        while (found := self.find(stage, config, inputs)) is None:
            if time.monotonic() > deadline:
                raise ArtifactNotFoundError(
                    f"the first process did not publish stage {stage.id!r} (key {key[:8]}) within "
                    f"{publish_timeout_s:.0f} s; see its log"
                )
            time.sleep(0.5)
        return found

    def contribute(
        self,
        stage: Stage[Any],
        config: Config,
        inputs: Inputs,
        *,
        work: Callable[[Path], object],
    ) -> None:
        """Do part of the work on an artifact; whoever produces it finds and publishes it.

        Args:
            stage: As the producer's.
            config: As the producer's.
            inputs: As the producer's.
            work: Is given the producer's directory of partial work, which others may be writing
                into now; not called if the artifact exists.
        """
        if self.find(stage, config, inputs) is not None:
            return
        directory = self._layout.work(stage_key(stage, config, inputs))
        directory.mkdir(parents=True, exist_ok=True)
        try:
            work(directory)
        except FileNotFoundError:
            # Published meanwhile, without this part; its directory is gone.
            if self.find(stage, config, inputs) is None:
                raise

    def adopt(
        self,
        manifest: Manifest,
        fill: Callable[[Path], object],
        *,
        on_wait: Callable[[str], object] | None = None,
    ) -> Artifact:
        """Publish an artifact that another store made; see :func:`~.adoption.adopt`.

        If another process builds or adopts the same key, wait for it; nothing is filled if it is
        there then.

        Args:
            manifest: Of the artifact.
            fill: Puts its files into a directory.
            on_wait: Told for whom this waits, if it does.

        Raises:
            StageLockedError: If the other process did not finish within a day.
            CorruptArtifactError: If manifest and files do not fit.
            ArtifactError: If this version does not know its kind, or the disk is full.
        """
        subject = f"{manifest.kind} {manifest.name}-{manifest.id[:8]}"
        lock = self._layout.lock(manifest.stage_key)
        with (
            naming_disk_errors(self.home, subject=subject),
            claim(lock, timeout_s=DAY_S, subject=subject, on_wait=on_wait),
        ):
            if self.has(manifest):
                return manifest.artifact()
            return adopt(manifest, fill, self._shelf).artifact()

    def has(self, manifest: Manifest) -> bool:
        """Whether this very artifact is here, and sound; asking counts as use."""
        artifact = manifest.artifact()
        try:
            self.use(artifact, is_named=False)
            self.verify(artifact)
        except ArtifactError:
            return False
        return True

    def get(self, reference: str) -> Artifact:
        """The artifact with that id, unique id prefix (6 digits or more), ``<name>-<id8>`` or ref.

        The content is not verified; ``verify`` does that.

        Raises:
            ArtifactNotFoundError: If there is none.
            ArtifactError: If the reference fits several, or cannot be read by this version.
        """
        if "/" in reference:
            check_ref(reference)
            found = self._refs.get(reference)
            if found is None:
                raise ArtifactNotFoundError(self._refs.why_missing(reference))
            reference = found
        return read_manifest(self._catalog.resolve(reference)).artifact()

    def path(self, artifact: Artifact) -> Path:
        """Directory of an artifact; read-only, and it may not be written into.

        Raises:
            ArtifactNotFoundError: If it is not in this store.
        """
        path = self._layout.artifact(artifact.directory, artifact.name, artifact.id)
        if not path.is_dir():
            raise ArtifactNotFoundError(why_missing(self._layout, artifact))
        return path

    def manifest(self, artifact: Artifact) -> Manifest:
        """Manifest of an artifact.

        Raises:
            ArtifactNotFoundError: If it is not in this store.
        """
        return read_manifest(self.path(artifact))

    def artifacts(self) -> Iterator[Manifest]:
        """Every manifest, oldest first; an unreadable one is logged and left out."""
        return iter(self._catalog.manifests())

    def use(self, artifact: Artifact, *, is_named: bool = True) -> None:
        """Note that an artifact is worked with now, so that garbage collection keeps it.

        Args:
            artifact: What is used.
            is_named: Whether somebody named it: then it stays for ``unused_days``, whatever round
                it belongs to. Else it was only needed on the way.

        Raises:
            ArtifactNotFoundError: If it is not in this store, or has just been removed.
        """
        self._catalog.touch(self.manifest(artifact).stage_key)
        if is_named:
            note_use(self._layout, artifact.id)
        self.path(artifact)  # again: whoever removes it does both the other way round

    @contextmanager
    def service(self) -> Generator[Service]:
        """Keep what is added to it from garbage collection while the body runs."""
        with service(self._layout) as kept:
            yield kept

    def verify(self, artifact: Artifact) -> None:
        """Check that an artifact's content is what was published.

        Raises:
            CorruptArtifactError: If it is not.
            ArtifactNotFoundError: If it is not in this store.
        """
        manifest = verify(self.path(artifact), self._shelf)
        if (manifest.id, manifest.digest) != (artifact.id, artifact.digest):
            raise CorruptArtifactError(
                f"{self.path(artifact)} holds {manifest.id} with digest {manifest.digest}, not "
                f"{artifact.id} with digest {artifact.digest}"
            )

    def remove(self, artifact: Artifact, *, reason: str = "removed by hand") -> None:
        """Delete an artifact's content; its manifest stays among the tombstones.

        Files it shares with others stay with them.

        Args:
            artifact: What to remove.
            reason: Why, in a sentence.

        Raises:
            ArtifactError: If a ref points to it, or it was asked for meanwhile.
            StageLockedError: If its stage key is being built now.
        """
        key = self.manifest(artifact).stage_key
        used_ns = self._catalog.last_used_ns(key)
        names = [ref for ref, target in self._refs.all().items() if target == artifact.id]
        if names:
            raise ArtifactError(
                f"{artifact.name}-{artifact.id[:8]} is what {', '.join(names)} points to; "
                "point it elsewhere first"
            )
        is_gone = take_away(
            self.path(artifact),
            self._shelf,
            reason=reason,
            is_wanted=lambda: self._catalog.last_used_ns(key) != used_ns,
        )
        if not is_gone:
            raise ArtifactError(
                f"{artifact.name}-{artifact.id[:8]} was asked for while it was being removed; it "
                "stays. Remove it again when nobody needs it."
            )

    def removed(self) -> list[Tombstone]:
        """What was removed and not made again, oldest first."""
        return removed_artifacts(self._layout)

    def rebuild_index(self) -> None:
        """Write the index of stage keys afresh, after artifacts were copied in by hand."""
        self._catalog.rebuild_index()

    def set_ref(  # noqa: PLR0913 - all but ref and artifact by name
        self,
        ref: str,
        artifact: Artifact,
        *,
        by: str | None = None,
        note: str | None = None,
        is_rollback: bool = False,
        instead_of: Collection[str | None] | None = None,
    ) -> None:
        """Point ``project/robot-or-task/name`` to an artifact.

        Args:
            ref: Name of the ref.
            artifact: What it points to from now on.
            by: Who says so; kept in the ref's history, as is ``note``.
            note: Why.
            is_rollback: Whether that undoes the moves since it last pointed there.
            instead_of: As for :meth:`Refs.set`: what it must point to now.

        Raises:
            ArtifactError: If ``ref`` is not valid.
            ArtifactNotFoundError: If the artifact is not in this store.
            RefMovedError: If it points to none of ``instead_of``.
        """
        check_ref(ref)
        path = self.path(artifact)
        # First noted as used, then looked for: whoever removes it does both the other way round.
        self._catalog.touch(read_manifest(path).stage_key)
        self.path(artifact)
        self._refs.set(
            ref, artifact.id, by=by, note=note, is_rollback=is_rollback, instead_of=instead_of
        )

    def remove_ref(self, ref: str) -> None:
        """Forget a ref, not what it points to; its history stays. Nothing happens if it is gone.

        Raises:
            ArtifactError: If ``ref`` is not valid.
        """
        self._refs.remove(ref)

    def get_ref(self, ref: str) -> Artifact | None:
        """The artifact a ref points to, None if the ref does not exist.

        Raises:
            ArtifactError: If ``ref`` is not valid.
            ArtifactNotFoundError: If it points to an artifact that is gone.
        """
        found = self._refs.get(ref)
        return None if found is None else self.get(found)

    def ref_history(self, ref: str) -> list[RefChange]:
        """Every move of a ref, oldest first; empty if it does not exist."""
        return self._refs.history(ref)

    def refs(self) -> dict[str, str]:
        """Artifact id by ref."""
        return self._refs.all()

    @cached_property
    def _code(self) -> Code:
        """Asked once: what is loaded stays loaded when the checkout moves on."""
        return Code(code_version(Path(recap_core.__file__).parent), library_versions())

    def _find[A: Artifact](self, stage: Stage[A], key: str, *, is_locked: bool) -> A | None:
        directory = self._catalog.by_stage_key(key)
        if directory is None:
            return None
        self._catalog.touch(key)
        try:
            manifest = verify(directory, self._shelf)
        except ArtifactNotFoundError:
            return None  # moved aside or removed since the index was read
        except CorruptArtifactError as error:
            self._discard(directory, key, error, is_locked=is_locked)
            return None
        if manifest.stage_key != key:
            _log.warning("index entry %s leads to %s, which has another key", key, directory)
            return None
        artifact = manifest.artifact()
        if not isinstance(artifact, stage.produces):
            raise ArtifactError(
                f"stage {stage.id!r} version {stage.version} produces a {stage.kind} but "
                f"published a {manifest.kind} under the same key ({directory}); raise the stage's "
                "version"
            )
        return artifact

    def _discard(
        self, directory: Path, key: str, reason: CorruptArtifactError, *, is_locked: bool
    ) -> None:
        if is_locked:
            move_aside(directory, self._shelf, reason=str(reason))
            return
        try:
            with claim(self._layout.lock(key), timeout_s=0.0, subject=f"stage key {key}"):
                # Again, under the lock: another process may have replaced it meanwhile.
                verify(directory, self._shelf)
        except CorruptArtifactError as error:
            move_aside(directory, self._shelf, reason=str(error))
        except (ArtifactNotFoundError, StageLockedError):
            return  # another process is on it

    def _build[A: Artifact](self, job: Job[A], build: Callable[[Build], Built]) -> A:
        started_at = datetime.now(UTC)
        clear_drafts(job.key, self._shelf)
        self._check_inputs(job, "before the build")
        draft, work = self._layout.new_draft(job.key), self._layout.work(job.key)
        work.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        try:
            built = build(Build(draft, work))
            self._check_inputs(job, "after the build")
            digest = seal(draft, self._shelf, subject=job.subject)
            manifest = job.describe(built, digest, started_at)
            manifest.artifact()  # details that do not fit the kind are refused before the rename
            directory = job.stage.produces.directory
            placed = publish(draft, manifest, directory=directory, shelf=self._shelf)
            return job.stage.produces.model_validate(placed.artifact().model_dump())
        finally:
            remove_tree(draft, digests=self.digests)
            if work.is_dir() and not any(work.iterdir()):
                work.rmdir()

    def _check_inputs(self, job: Job[Any], when: str) -> None:
        for role, artifact in each_input(job.inputs):
            try:
                self._catalog.touch(self.manifest(artifact).stage_key)
                self.verify(artifact)
            except CorruptArtifactError as error:
                raise CorruptArtifactError(
                    f"input {role!r} of {job.subject}, {artifact.name}-{artifact.id[:8]}, is "
                    f"damaged {when}: {error}"
                ) from error
