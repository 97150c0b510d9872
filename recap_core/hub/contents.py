"""What a repository on the hub will hold: an artifact's files, a card, and a public manifest.

README.md        the card
artifact.json    the manifest, without hosts and directories
...              every file of the artifact, byte by byte; of JSON files that name a directory
                 of this machine, a copy that does not
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from recap_core.errors import ConfigError, IncompatibleError
from recap_core.hub.card_parts import CardOptions
from recap_core.hub.dataset_card import dataset_card
from recap_core.hub.policy_card import policy_card
from recap_core.hub.privacy import public_manifest, without_paths
from recap_core.hub.value_card import value_card
from recap_core.lineage.artifacts import AnyDataset, Artifact, PolicyCheckpoint, ValueCheckpoint
from recap_core.lineage.atomic_directory import atomic_directory
from recap_core.lineage.files import walk
from recap_core.lineage.layout import MANIFEST_FILE
from recap_core.lineage.links import link_file
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Store

CARD_FILE = "README.md"
DATASET_VERSION = "v3.0"
"""The tag by which lerobot finds a dataset that it can read."""


class HubContents(NamedTuple):
    """All of a repository."""

    artifact: Artifact
    repo_type: Literal["dataset", "model"]
    tags: tuple[str, ...]
    """Git tags of the upload; the last names the artifact."""
    files: Mapping[str, Path]
    """The artifact's own, by path in the repository."""
    texts: Mapping[str, bytes]
    """Written for the upload, by path in the repository."""

    @property
    def label(self) -> str:
        """``<kind> <name>-<id8>``."""
        kind = self.artifact.kind.replace("_", " ")
        return f"{kind} {self.artifact.name}-{self.artifact.id[:8]}"

    @property
    def num_bytes(self) -> int:
        """Size of everything."""
        sizes = [path.stat().st_size for path in self.files.values()]
        return sum(sizes) + sum(map(len, self.texts.values()))


def card(snapshot: Snapshot, artifact: Artifact, options: CardOptions) -> str:
    """The card of a dataset, a policy or a value model; its content is verified first.

    Raises:
        IncompatibleError: If it is something else, or a dataset that lerobot does not read.
        CorruptArtifactError: If its content is not what was published.
    """
    match artifact:
        case AnyDataset(format_version="v3.0"):
            snapshot.store.verify(artifact)
            return dataset_card(snapshot, artifact, options)
        case PolicyCheckpoint():
            snapshot.store.verify(artifact)
            return policy_card(snapshot, artifact, options)
        case ValueCheckpoint():
            snapshot.store.verify(artifact)
            return value_card(snapshot, artifact, options)
    raise IncompatibleError(
        f"{artifact.kind} {artifact.name}-{artifact.id[:8]} has no place on the hub. Name a "
        "dataset (LeRobot v3.0), a policy or a value model."
    )


def hub_contents(snapshot: Snapshot, artifact: Artifact, options: CardOptions) -> HubContents:
    """Collect what is uploaded; the artifact's content is verified, nothing is written.

    Args:
        snapshot: The store that it is in.
        artifact: A dataset, a policy or a value model.
        options: For its card.

    Raises:
        CorruptArtifactError: If its content is not what was published.
        IncompatibleError: If it is something else.
    """
    store = snapshot.store
    readme = card(snapshot, artifact, options)
    manifest = public_manifest(store.manifest(artifact))
    texts = {
        CARD_FILE: readme.encode(),
        MANIFEST_FILE: (manifest.model_dump_json(indent=2) + "\n").encode(),
    }
    files: dict[str, Path] = {}
    for file in walk(store.path(artifact)).files:
        if file.relative in texts:
            continue
        scrubbed = _scrubbed(file.path)
        if scrubbed is None:
            files[file.relative] = file.path
        else:
            texts[file.relative] = scrubbed
    is_dataset = isinstance(artifact, AnyDataset)
    own_tag = f"{artifact.name}-{artifact.id[:8]}"
    return HubContents(
        artifact,
        "dataset" if is_dataset else "model",
        (DATASET_VERSION, own_tag) if is_dataset else (own_tag,),
        files,
        texts,
    )


def write_folder(contents: HubContents, target: Path, *, store: Store) -> None:
    """Write what would be uploaded as a directory; it appears whole or not at all.

    Files are hard links to the store's, read-only, or copies on another file system.

    Raises:
        ConfigError: If it lies in the store.
        DataError: If it exists and is not empty, or cannot be written.
    """
    target = target.expanduser().absolute()
    if target.resolve().is_relative_to(store.home.resolve()):
        raise ConfigError(f"{target} is inside of the store {store.home}. Choose another one.")
    with atomic_directory(target) as draft:
        for relative, path in contents.files.items():
            link_file(path, draft / relative, digests=store.digests)
        for relative, text in contents.texts.items():
            path = draft / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)


def _scrubbed(path: Path) -> bytes | None:
    """A JSON file without directories of this machine; None: it names none, or is another file."""
    if path.suffix != ".json":
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None  # Orbax and others may call anything so
    scrubbed = without_paths(content)
    return None if scrubbed == content else (json.dumps(scrubbed, indent=2) + "\n").encode()
