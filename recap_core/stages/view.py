"""What ``recap view`` shows: a dataset, with the values and labels that belong to it.

Nothing is published, so this is no stage of its own.
"""

from pathlib import Path
from typing import NamedTuple

from recap_core.errors import ArtifactError, ArtifactNotFoundError, DataError, IncompatibleError
from recap_core.lineage.artifacts import (
    AnyDataset,
    Artifact,
    DatasetCopy,
    Labels,
    RelabeledDataset,
    Values,
)
from recap_core.lineage.layout import MANIFEST_FILE
from recap_core.lineage.manifest import read_manifest
from recap_core.lineage.store import Store
from recap_core.reports.tracks import DatasetTracks, Judgement
from recap_core.stages.label_origin import read_rule, values_behind


class Judges(NamedTuple):
    """Values and labels of a dataset in the store."""

    values: Values | Labels | None
    """What holds V: imported labels may do so themselves."""
    labels: Labels | None


class _Source(NamedTuple):
    """Where something is, and the artifact it is, if it is one."""

    path: Path
    artifact: Artifact | None

    @property
    def name(self) -> str:
        if self.artifact is None:
            return self.path.resolve().name
        return f"{self.artifact.name}-{self.artifact.id[:8]}"


def open_tracks(
    store: Store, dataset: str, *, values: str | None = None, labels: str | None = None
) -> DatasetTracks:
    """Open a dataset with its values and labels.

    Args:
        store: Where artifacts are.
        dataset: A v3.0 dataset: a directory, or what ``Store.get`` accepts.
        values: The same for values; None takes those that the store has for the dataset, if any.
        labels: The same for labels.

    Raises:
        ArtifactNotFoundError: If there is no such artifact or directory.
        ArtifactError: If a reference leads to an artifact of another kind.
        IncompatibleError: If values or labels belong to another dataset.
        DataError: If something cannot be read, or has another number of frames.
    """
    from recap_core.data.frames import read_frames

    source = _find(store, dataset, AnyDataset, "dataset")
    found = Judges(None, None)
    if isinstance(source.artifact, AnyDataset):
        found = find_judges(store, source.artifact)
    table = read_frames(source.path)
    if not table.num_frames:
        raise DataError(f"{source.name} has no episodes, so there is nothing to see.")
    chosen = _chosen(store, source, found, values=values, labels=labels)
    judgement = _read_judgement(chosen, num_frames=table.num_frames)
    return DatasetTracks(table, judgement, name=source.name)


def find_judges(store: Store, dataset: AnyDataset) -> Judges:
    """Values and labels that the store has for ``dataset``.

    A relabelled dataset has the labels it was made from, and the values behind those. Any other
    has the newest labels that were made for it, or for what it is a copy of, and their values;
    without labels, the newest values.
    """
    if isinstance(dataset, RelabeledDataset):
        own = _with_values(store, _get(store, dataset.parents[1], Labels))
        if own.labels:
            return own
    ids = _known_as(store, dataset)
    newest = {"labels": "", "values": ""}
    for manifest in store.artifacts():
        if manifest.kind in newest and manifest.parents and manifest.parents[0].id in ids:
            newest[manifest.kind] = manifest.id
    found = _with_values(store, _get(store, newest["labels"], Labels))
    return found if found.labels else Judges(_get(store, newest["values"], Values), None)


def _known_as(store: Store, dataset: Artifact) -> set[str]:
    """Ids under which values and labels know a dataset: its own, and what it is a copy of."""
    ids = {dataset.id}
    if isinstance(dataset, RelabeledDataset):
        copy = _get(store, dataset.parents[0], DatasetCopy)
        ids |= {copy.parents[0]} if copy else set()
    if isinstance(dataset, DatasetCopy):
        ids.add(dataset.parents[0])
    return ids


def _with_values(store: Store, labels: Labels | None) -> Judges:
    try:
        return Judges(values_behind(labels, store) if labels else None, labels)
    except ArtifactNotFoundError:
        return Judges(None, labels)  # the values were removed


def _get[A: Artifact](store: Store, artifact_id: str, kind: type[A]) -> A | None:
    """An artifact by id; None if it was removed."""
    try:
        found = store.get(artifact_id) if artifact_id else None
    except ArtifactNotFoundError:
        return None
    return found if isinstance(found, kind) else None


def _find(store: Store, reference: str, kind: type[Artifact], noun: str) -> _Source:
    """A directory, or an artifact of the store; a directory inside the store is its artifact."""
    path = Path(reference)
    if path.is_dir():
        if not (path / MANIFEST_FILE).is_file():
            return _Source(path, None)
        reference = read_manifest(path).id
        try:
            found = store.get(reference)
        except ArtifactNotFoundError:
            return _Source(path, None)  # of another store
        if store.path(found).resolve() != path.resolve():
            return _Source(path, None)
    else:
        found = store.get(reference)
    if not isinstance(found, kind):
        raise ArtifactError(
            f"{found.name}-{found.id[:8]} is of kind {found.kind}, but a {noun} is "
            "needed here. List what there is with: recap lineage graph"
        )
    return _Source(store.path(found), found)


class _Chosen(NamedTuple):
    values: _Source | None
    labels: _Source | None


def _chosen(
    store: Store, source: _Source, found: Judges, *, values: str | None, labels: str | None
) -> _Chosen:
    """What was asked for, else what was found; what was asked for must fit the dataset."""

    def as_source(artifact: Artifact | None) -> _Source | None:
        return None if artifact is None else _Source(store.path(artifact), artifact)

    wanted_labels = None if labels is None else _find(store, labels, Labels, "labels artifact")
    wanted_values = None if values is None else _find(store, values, Values, "values artifact")
    for wanted in (wanted_labels, wanted_values):
        _check_same_dataset(store, source, wanted)
    # Labels and the curve above them must agree: labels bring the values behind them, and values
    # only the labels that were made of them.
    if wanted_values is None:
        judged = wanted_labels.artifact if wanted_labels else None
        judges = _with_values(store, judged) if isinstance(judged, Labels) else found
        return _Chosen(as_source(judges.values), wanted_labels or as_source(found.labels))
    own = found.labels
    judge = wanted_values.artifact
    if own is not None and judge is not None and judge.id not in own.parents:
        own = None
    return _Chosen(wanted_values, wanted_labels or as_source(own))


def _check_same_dataset(store: Store, source: _Source, judge: _Source | None) -> None:
    dataset = source.artifact
    if judge is None or judge.artifact is None or dataset is None:
        return  # a directory says nothing of where it comes from; its length is checked later
    if judge.artifact.parents[0] not in _known_as(store, dataset):
        raise IncompatibleError(
            f"{judge.artifact.kind} {judge.name} belong to dataset "
            f"{judge.artifact.parents[0][:8]}, not to {source.name}. Name what was "
            "made of this dataset, or leave it out for what the store has."
        )


def _read_judgement(chosen: _Chosen, *, num_frames: int) -> Judgement:
    from recap_core.data.label_table import LABELS_FILE, read_label_table
    from recap_core.valuation.values import read_values

    parts: dict[str, object] = {}

    def check(source: _Source, count: int) -> None:
        if count != num_frames:
            raise DataError(
                f"{source.name} has {count} frames, but the dataset has {num_frames}. Choose "
                "what was made for this dataset."
            )

    if chosen.values is not None:
        values = read_values(chosen.values.path)
        check(chosen.values, len(values))
        parts |= {"values": values, "values_from": chosen.values.name}
    if chosen.labels is not None:
        table = read_label_table(chosen.labels.path / LABELS_FILE)
        check(chosen.labels, len(table.adv_ind))
        rule = read_rule(chosen.labels.path)
        parts |= {"advantage": table.advantage, "adv_ind": table.adv_ind}
        parts |= {"labels_from": chosen.labels.name, "thresholds": rule and rule["thresholds"]}
    return Judgement(**parts)  # pyright: ignore[reportArgumentType] - collected by name
