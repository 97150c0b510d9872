"""What a policy may be trained on: labels that belong to the dataset, and say something."""

from typing import TYPE_CHECKING

from recap_core.errors import ArtifactNotFoundError, DataError, IncompatibleError
from recap_core.lineage.artifacts import AnyDataset, Artifact, RelabeledDataset
from recap_core.lineage.store import Store

if TYPE_CHECKING:
    from recap_core.data.frames import FrameTable


def check_training_labels(
    dataset: AnyDataset, table: "FrameTable", *, reads_labels: bool, store: Store
) -> None:
    """Refuse a dataset whose labels are not its own, or say nothing (SPEC §10).

    A relabelled dataset's labels and the values behind them must be of the dataset that was copied,
    as far as the store still has them, and every autonomous frame has a label. Where a policy is
    conditioned on the labels, some frame must have one; corrections alone do (stage 3).

    Args:
        dataset: What to train on.
        table: Its frames.
        reads_labels: Whether the policy is conditioned on the dataset's labels.
        store: Where the dataset's ancestors are.

    Raises:
        IncompatibleError: If labels or values are of another dataset.
        DataError: If frames lack labels.
    """
    who = f"{dataset.kind.replace('_', ' ')} {dataset.name}-{dataset.id[:8]}"
    if isinstance(dataset, RelabeledDataset):
        _check_ancestors(dataset, who, store)
        _check_complete(table, who)
    if reads_labels and bool((table.column("adv_ind") == "none").all()):
        raise DataError(
            f"all {table.num_frames:,} frames of {who} are labelled 'none', so there is nothing to "
            f"condition a policy on. {_ways_to_labels(dataset, store)}, or set condition to "
            "'positive' for SFT"
        )


def _ways_to_labels(dataset: AnyDataset, store: Store) -> str:
    """What gives this dataset labels; without values, no rule does."""
    has_values = any(
        m.kind == "values" and m.parents[0].id == dataset.id for m in store.artifacts()
    )
    if has_values:
        return f"Label it with: recap label apply {dataset.id[:8]} --relabel"
    return (
        "It has no values that labels could be made from, and the operator corrected nothing in "
        "it: record corrections (stage 3 learns from those), or train a value model that is "
        "healthy"
    )


def _check_ancestors(dataset: RelabeledDataset, who: str, store: Store) -> None:
    from recap_core.data.label_sidecar import read_sidecar_facts

    copy, labels = (_get(store, parent) for parent in dataset.parents[:2])
    facts = read_sidecar_facts(store.path(dataset))
    if facts is not None and facts.get("labels") != dataset.parents[1]:
        raise IncompatibleError(
            f"{who} was made from labels {dataset.parents[1][:8]}, but says in its meta directory "
            f"that it holds labels {str(facts.get('labels'))[:8]}. Relabel the dataset again."
        )
    if labels is None:
        return
    source = labels.parents[0]
    if copy is not None and copy.parents[0] != source:
        raise IncompatibleError(
            f"{who} is a copy of dataset {copy.parents[0][:8]}, but its labels {labels.name}-"
            f"{labels.id[:8]} belong to dataset {source[:8]}. Label the dataset that was copied."
        )
    values = _get(store, labels.parents[1]) if len(labels.parents) > 1 else None
    if values is not None and values.parents[0] != source:
        raise IncompatibleError(
            f"labels {labels.name}-{labels.id[:8]} of {who} belong to dataset {source[:8]}, but "
            f"were made from values {values.name}-{values.id[:8]} of dataset "
            f"{values.parents[0][:8]}. Infer the values of the dataset that is labelled."
        )


def _get(store: Store, artifact_id: str) -> Artifact | None:
    try:
        return store.get(artifact_id)
    except ArtifactNotFoundError:
        return None  # it was removed


def _check_complete(table: "FrameTable", who: str) -> None:
    is_autonomous = ~(table.is_intervention | table.is_paused)
    num_none = int((is_autonomous & (table.column("adv_ind") == "none")).sum())
    if num_none:
        raise DataError(f"{who} holds {num_none} autonomous frames labelled 'none'; label it again")
