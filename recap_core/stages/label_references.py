"""From what a person names to the values, the labels and the dataset that are meant."""

from typing import NamedTuple

from recap_core.config.labels import TargetConfig
from recap_core.errors import ArtifactError, ArtifactNotFoundError, IncompatibleError
from recap_core.lineage.artifacts import (
    AnyDataset,
    Artifact,
    DatasetCopy,
    Labels,
    PolicyCheckpoint,
    RelabeledDataset,
    Values,
)
from recap_core.lineage.store import Store
from recap_core.stages.view import find_judges


class Valued(NamedTuple):
    """A dataset and V of its frames."""

    dataset: AnyDataset
    values: Values


class Labelled(NamedTuple):
    """A dataset and labels of its frames."""

    dataset: AnyDataset
    labels: Labels


def valued(store: Store, artifact: Artifact, *, all_frames: bool = False) -> Valued:
    """The values that are named, or the newest ones of the dataset that is.

    Args:
        store: Where both are.
        artifact: Values, or a dataset.
        all_frames: Prefer values that leave out no demonstrations, where the dataset has such.

    Raises:
        IncompatibleError: If the artifact is neither.
        ArtifactNotFoundError: If the dataset has no values, or the values' dataset was removed.
    """
    if isinstance(artifact, Values):
        return Valued(_dataset(store, artifact.parents[0]), artifact)
    if not isinstance(artifact, AnyDataset):
        raise IncompatibleError(
            f"{artifact.name}-{artifact.id[:8]} is {artifact.kind}, but values or a dataset was "
            "expected. See what there is with: recap lineage graph"
        )
    dataset = _original(store, artifact)
    stored = [m for m in store.artifacts() if m.kind == "values"]  # oldest first
    mine = [m.id for m in stored if m.parents[0].id == dataset.id]
    if not mine:
        newest = ", ".join(f"{m.name}-{m.id[:8]}" for m in stored[-5:])
        others = (
            f" (a round's are of the merged dataset; the newest values are {newest}). Name values, "
            "or infer"
            if newest
            else ", nor of any other in this store. Infer"
        )
        raise ArtifactNotFoundError(
            f"there are no values of dataset {dataset.name}-{dataset.id[:8]}{others} them with: "
            f"recap value infer <value model> {dataset.id[:8]}"
        )
    found = [_values(store, each) for each in mine]
    whole = [values for values in found if values.frames == "all"]
    return Valued(dataset, (whole if all_frames and whole else found)[-1])


def labelled(store: Store, artifact: Artifact) -> Labelled:
    """The labels that are named, or those behind a policy or a dataset.

    A relabelled dataset has the labels that it was made from, a policy those of the dataset that it
    was trained on, and any other dataset the newest ones.

    Raises:
        IncompatibleError: If the artifact has nothing to do with labels.
        ArtifactNotFoundError: If there are no labels, or what they are of was removed.
    """
    who = f"{artifact.kind.replace('_', ' ')} {artifact.name}-{artifact.id[:8]}"
    if isinstance(artifact, PolicyCheckpoint):
        for parent in artifact.parents:
            trained_on = store.get(parent)
            if isinstance(trained_on, AnyDataset):
                return labelled(store, trained_on)
        raise ArtifactNotFoundError(f"{who} was trained on no dataset of this store.")
    if isinstance(artifact, Labels):
        return Labelled(_dataset(store, artifact.parents[0]), artifact)
    if not isinstance(artifact, AnyDataset):
        raise IncompatibleError(
            f"{who} has no labels; name labels, a dataset or a policy. See what there is with: "
            "recap lineage graph"
        )
    if isinstance(artifact, RelabeledDataset):
        # Not the newest ones, should these have been removed: it holds other labels than those.
        own = store.get(artifact.parents[1])
        labels = own if isinstance(own, Labels) else None
    else:
        labels = find_judges(store, artifact).labels
    if labels is None:
        raise ArtifactNotFoundError(
            f"{who} has no labels. Make some with: recap label apply {artifact.id[:8]}"
        )
    return Labelled(artifact, labels)


def targets_of_values(store: Store, values: Values) -> TargetConfig | None:
    """What the value model behind ``values`` was taught to count; None if it does not say."""
    from recap_core.config.stages import TrainValueConfig

    try:
        model = store.get(values.parents[1])
        return TrainValueConfig.model_validate(store.manifest(model).config).targets
    except (ArtifactNotFoundError, IndexError, ValueError):
        return None


def _original(store: Store, dataset: AnyDataset) -> AnyDataset:
    """The dataset that values know: what a copy or a relabelled dataset was made from."""
    while isinstance(dataset, RelabeledDataset | DatasetCopy):
        dataset = _dataset(store, dataset.parents[0])
    return dataset


def _values(store: Store, artifact_id: str) -> Values:
    found = store.get(artifact_id)
    if not isinstance(found, Values):
        raise ArtifactError(f"{artifact_id} is {found.kind}, not values")
    return found


def _dataset(store: Store, artifact_id: str) -> AnyDataset:
    found = store.get(artifact_id)
    if not isinstance(found, AnyDataset):
        raise IncompatibleError(f"{found.name}-{found.id[:8]} is {found.kind}, not a dataset")
    return found
