"""Bundles: artifacts on their way from one store to another, as a directory or a tar file.

    bundle.json                         what is in it, with the digest of every file
    artifacts/<type>/<name>-<id8>/      as in a store, artifact.json included

In a directory ``bundle.json`` is written last, in a tar file it comes first. A reader takes paths
from it alone, after checking that none leaves the bundle, and no file that it does not list.
"""

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

import xxhash
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from recap_core.errors import ArtifactError, DataError
from recap_core.lineage.artifacts import KINDS
from recap_core.lineage.files import walk
from recap_core.lineage.keys import artifact_id, canonical_json
from recap_core.lineage.layout import MANIFEST_FILE, NAME

INDEX_FILE = "bundle.json"
VERSION = 1
MAX_INDEX_BYTES = 1 << 30
_ID = r"^[0-9a-f]{32}$"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class BundledFile(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: str
    """Inside the artifact, with ``/``."""
    size: int = Field(ge=0)
    digest: str = Field(pattern=_ID)
    """xxh3-128 of the content."""

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        is_plain = str(pure) == path and not pure.is_absolute() and not _CONTROL.search(path)
        if not is_plain or path == "." or ".." in pure.parts:
            raise ValueError(f"{path!r} is no path inside of an artifact")
        return path


class BundledArtifact(BaseModel):
    """One artifact of a bundle, and its files."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: str
    name: str
    id: str = Field(pattern=_ID)
    stage_key: str = Field(pattern=_ID)
    digest: str = Field(pattern=_ID)
    manifest: BundledFile
    files: tuple[BundledFile, ...] = Field(min_length=1)

    @property
    def label(self) -> str:
        """``<kind> <name>-<id8>``."""
        return f"{self.kind} {self.name}-{self.id[:8]}"

    @property
    def directory(self) -> str:
        """Path of its directory in the bundle."""
        return f"artifacts/{KINDS[self.kind].directory}/{self.name}-{self.id[:8]}"

    @property
    def num_bytes(self) -> int:
        """Size of its files."""
        return sum(file.size for file in self.files)

    def check(self) -> None:
        """Raise DataError unless name, id, digest and files agree."""
        if self.kind not in KINDS:
            raise DataError(
                f"it holds {self.name}-{self.id[:8]}, a {self.kind!r}, which this version does "
                "not know. Update recap."
            )
        if not NAME.fullmatch(self.name):
            raise DataError(f"{self.name!r} is no artifact's name")
        tree = xxhash.xxh3_128()
        for file in self.files:
            tree.update(os.fsencode(file.path) + b"\0" + file.digest.encode("ascii") + b"\n")
        if tree.hexdigest() != self.digest:
            raise DataError(f"the digests of the files of {self.label} do not give its own digest")
        if artifact_id(self.kind, self.stage_key, self.digest) != self.id:
            raise DataError(f"{self.label} does not hash to its own id")
        if self.manifest.path != MANIFEST_FILE:
            raise DataError(f"{self.label} calls its manifest {self.manifest.path!r}")
        if any(file.path == MANIFEST_FILE for file in self.files):
            raise DataError(f"{self.label} lists {MANIFEST_FILE} as content")


class BundleIndex(BaseModel):
    """``bundle.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: int = VERSION
    host: str
    written_at: AwareDatetime
    roots: tuple[str, ...]
    """Ids of what was asked for; everything else is an ancestor of it."""
    refs: dict[str, str] = {}
    """Refs of the store that it comes from, to what is in the bundle."""
    elsewhere: tuple[str, ...] = ()
    """Ids of direct parents that are not in the bundle."""
    artifacts: tuple[BundledArtifact, ...]
    """Parents before their children."""
    checksum: str = ""
    """blake2b-128 of everything else, as canonical JSON."""

    def sealed(self) -> "BundleIndex":
        """The same, with its checksum."""
        return self.model_copy(update={"checksum": self._sum()})

    def check(self) -> None:
        """Raise DataError unless it is what was written, and safe to use."""
        if self._sum() != self.checksum:
            raise DataError(f"{INDEX_FILE} does not match its own checksum")
        for artifact in self.artifacts:
            artifact.check()
        ids = [artifact.id for artifact in self.artifacts]
        if len(set(ids)) != len(ids):
            raise DataError(f"{INDEX_FILE} lists an artifact twice")

    def _sum(self) -> str:
        text = canonical_json(self.model_dump(mode="json", exclude={"checksum"}))
        return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def parse_index(text: bytes) -> BundleIndex:
    """Read and check ``bundle.json``.

    Raises:
        DataError: If it is damaged, or of a newer version.
    """
    try:
        index = BundleIndex.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{INDEX_FILE} cannot be read: {where} {first['msg']}") from error
    if index.version > VERSION:
        raise DataError(
            f"{INDEX_FILE} has version {index.version}; this recap reads up to version {VERSION}. "
            "Update recap."
        )
    index.check()
    return index


@runtime_checkable
class BundleSource(Protocol):
    """A bundle that is read."""

    index: BundleIndex

    def problems(self, artifact: BundledArtifact) -> list[str]:
        """What is missing, cut short or too much of an artifact."""
        ...

    def open(self, artifact: BundledArtifact, file: BundledFile) -> BufferedReader:
        """The content of a file."""
        ...


class DirectorySource:
    """A bundle as a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        path = root / INDEX_FILE
        if not path.is_file():
            raise DataError(
                f"there is no {INDEX_FILE}, which is written and copied last: this is no bundle, "
                "or not all of one yet"
            )
        if path.stat().st_size > MAX_INDEX_BYTES:
            raise DataError(f"{INDEX_FILE} is larger than {MAX_INDEX_BYTES} bytes")
        self.index = parse_index(path.read_bytes())

    def problems(self, artifact: BundledArtifact) -> list[str]:
        """What is missing, cut short or too much of an artifact."""
        directory = self._root
        for part in PurePosixPath(artifact.directory).parts:
            directory /= part
            if directory.is_symlink():
                return [f"{directory} is a symbolic link"]
        if not directory.is_dir():
            return [f"{artifact.directory} is missing"]
        try:
            found = {file.relative: file.stat.st_size for file in walk(directory).files}
        except ArtifactError as error:
            return [str(error)]
        return _differences(artifact, found)

    def open(self, artifact: BundledArtifact, file: BundledFile) -> BufferedReader:
        """The content of a file."""
        return (self._root / artifact.directory / file.path).open("rb")


class TarSource:
    """A bundle as a tar file; nothing is ever unpacked by the names in it."""

    def __init__(self, archive: tarfile.TarFile, num_bytes: int) -> None:
        self._archive = archive
        try:
            members = archive.getmembers()
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise DataError(f"the tar file is damaged or not complete ({error})") from error
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in members:
            self._add(member, num_bytes)
        first = self._members.get(INDEX_FILE)
        if first is None or not first.isreg() or first.size > MAX_INDEX_BYTES:
            raise DataError(f"there is no {INDEX_FILE} in it: this is no bundle")
        self.index = parse_index(self._content(first).read())
        listed = {INDEX_FILE} | {
            f"{artifact.directory}/{file.path}"
            for artifact in self.index.artifacts
            for file in (artifact.manifest, *artifact.files)
        }
        extra = [name for name in self._members if name not in listed]
        if extra:
            raise DataError(f"{extra[0]!r} is not listed in {INDEX_FILE} ({len(extra)} such files)")

    def _add(self, member: tarfile.TarInfo, num_bytes: int) -> None:
        if member.isdir():
            return
        if not (member.isreg() or member.islnk()):
            raise DataError(f"{member.name!r} is neither a file nor a hard link")
        if member.name in self._members:
            raise DataError(f"{member.name!r} is there twice")
        if member.isreg() and member.offset_data + member.size > num_bytes:
            raise DataError(f"the tar file ends in the middle of {member.name!r}")
        name = member.name
        if member.islnk():
            linked = self._members.get(member.linkname)
            if linked is None:
                raise DataError(f"{name!r} is a link to {member.linkname!r}, not before it")
            member = linked
        self._members[name] = member

    def problems(self, artifact: BundledArtifact) -> list[str]:
        """What is missing, cut short or too much of an artifact."""
        prefix = f"{artifact.directory}/"
        found = {
            name.removeprefix(prefix): member.size
            for name, member in self._members.items()
            if name.startswith(prefix)
        }
        return _differences(artifact, found)

    def open(self, artifact: BundledArtifact, file: BundledFile) -> BufferedReader:
        """The content of a file."""
        return self._content(self._members[f"{artifact.directory}/{file.path}"])

    def _content(self, member: tarfile.TarInfo) -> BufferedReader:
        stream = self._archive.extractfile(member)
        assert isinstance(stream, BufferedReader)  # noqa: S101 - _add lets regular files in only
        return stream


@contextmanager
def open_bundle(path: Path) -> Generator[BundleSource]:
    """Open a bundle, and check what it says of itself.

    Raises:
        DataError: If it is no bundle, damaged, or not complete; names it.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"there is no bundle at {path} ({error.strerror})") from error
    try:
        if stat.S_ISDIR(status.st_mode):
            yield DirectorySource(path)
            return
        try:
            archive = tarfile.open(path, "r:")  # noqa: SIM115 - closed below
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DataError(
                f"it is neither a directory nor an uncompressed tar file ({error})"
            ) from error
        with archive:
            yield TarSource(archive, status.st_size)
    except DataError as error:
        if str(path) in str(error):
            raise
        raise DataError(f"bundle {path}: {error}. Copy it again, or export it again.") from error


def _differences(artifact: BundledArtifact, found: dict[str, int]) -> list[str]:
    listed = {file.path: file.size for file in (artifact.manifest, *artifact.files)}
    problems = [f"{path} is missing" for path in listed if path not in found]
    problems += [
        f"{path} has {found[path]} of {size} bytes"
        for path, size in listed.items()
        if path in found and found[path] != size
    ]
    problems += [f"{path} is not listed" for path in found if path not in listed]
    return [f"{artifact.directory}: {problem}" for problem in problems]
