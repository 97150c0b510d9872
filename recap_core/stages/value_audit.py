"""The outcome audit of a dataset from its stored values, and its rows for a report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from recap_core.errors import DataError, IncompatibleError
from recap_core.lineage.artifacts import AnyDataset, ValueCheckpoint, Values
from recap_core.lineage.store import Store
from recap_core.stages.value_roles import episode_roles

if TYPE_CHECKING:
    import numpy as np

    from recap_core.config.labels import TargetConfig
    from recap_core.data.frames import FrameTable
    from recap_core.reports.content import AuditRow, Role
    from recap_core.valuation.audit import Contradiction


class Audit(NamedTuple):
    """The audit of one dataset."""

    dataset: AnyDataset
    rows: "tuple[AuditRow, ...]"
    """Contradicted episodes by falling score."""
    num_audited: int
    is_healthy: bool
    """Whether the value model passed its gate; V of one that did not says little about marks."""


def audit_values(store: Store, values: Values, dataset: AnyDataset | None = None) -> Audit:
    """Audit all episodes of the dataset that ``values`` belong to.

    Args:
        store: Where everything is.
        values: V of its frames.
        dataset: What the rows should name: the dataset itself, or a relabelled copy; None: itself.

    Raises:
        IncompatibleError: If ``dataset`` has another number of frames.
    """
    from recap_core.data.frames import read_frames
    from recap_core.valuation.values import read_values

    named = dataset or _dataset_of(store, values)
    value_model = value_model_of(store, values)
    table = read_frames(store.path(named))
    stored = read_values(store.path(values))
    if len(stored) != table.num_frames:
        raise IncompatibleError(
            f"values {values.name}-{values.id[:8]} have {len(stored)} frames, but {named.name}-"
            f"{named.id[:8]} has {table.num_frames}. Infer the values of this dataset."
        )
    audit = audit_table(table, stored, targets_of(store, value_model))
    roles = episode_roles(store, value_model, named, table)
    rows = audit_rows(audit, named, roles)
    return Audit(named, rows, len(audit), is_healthy=value_model.healthy)


def audit_table(
    table: "FrameTable",
    values: "np.ndarray",
    targets: "TargetConfig",
    episodes: Sequence[int] | None = None,
) -> "tuple[Contradiction, ...]":
    """Audit some episodes of a dataset by the V of their frames, under the rule of their targets.

    Copies of an episode are looked at once.
    """
    from recap_core.training.value_batches import value_targets
    from recap_core.valuation.audit import audit_outcomes

    chosen = range(len(table.episode_lengths)) if episodes is None else episodes
    first = {int(table.originals[episode]): int(episode) for episode in reversed(chosen)}
    return audit_outcomes(
        values,
        value_targets(table, targets, outcome=True).targets,
        value_targets(table, targets, outcome=False).targets,
        episode_ends=table.episode_ends,
        success=table.success,
        episodes=sorted(first.values()),
    )


def audit_rows(
    audit: "Sequence[Contradiction]",
    dataset: AnyDataset,
    roles: "Sequence[Role]",
    *,
    shown: Sequence[int] = (),
) -> "tuple[AuditRow, ...]":
    """Contradicted episodes as a report lists them.

    Args:
        audit: By falling score.
        dataset: What the command of a row names.
        roles: Of every episode of ``dataset``.
        shown: Episodes that the report has a panel of.
    """
    from recap_core.reports.content import AuditRow
    from recap_core.valuation.audit import contradicted

    return tuple(
        AuditRow(
            episode_index=row.episode,
            outcome="success" if row.success else "failure",
            score=row.score,
            late_value=row.late_value,
            late_target=row.late_target,
            other_target=row.other_target,
            role=roles[row.episode],
            command=(
                f"recap annotate {dataset.name}-{dataset.id[:8]} -e {row.episode} "
                f"--outcome {row.opposite}"
            ),
            has_panel=row.episode in shown,
        )
        for row in contradicted(audit)
    )


def targets_of(store: Store, value_model: ValueCheckpoint) -> "TargetConfig":
    """What the values of a model count."""
    from recap_core.checkpoints.value_checkpoint import read_value_model

    return read_value_model(store.path(value_model)).settings.targets


def value_model_of(store: Store, values: Values) -> ValueCheckpoint:
    """What values come from.

    Raises:
        ArtifactNotFoundError: If it was removed.
        DataError: If they come from no value model.
    """
    value_model = store.get(values.parents[1])
    if not isinstance(value_model, ValueCheckpoint):
        raise DataError(f"values {values.name}-{values.id[:8]} come from no value model")
    return value_model


def _dataset_of(store: Store, values: Values) -> AnyDataset:
    dataset = store.get(values.parents[0])
    if not isinstance(dataset, AnyDataset):
        raise DataError(f"values {values.name}-{values.id[:8]} belong to no dataset")
    return dataset


def values_named(store: Store, reference: str) -> Values:
    """Stored values by their own reference, or the newest ones of a value model.

    Raises:
        ArtifactNotFoundError: If there is no such artifact.
        IncompatibleError: If it is neither.
        DataError: If nothing was valued with that model yet.
    """
    artifact = store.get(reference)
    if isinstance(artifact, Values):
        return artifact
    if not isinstance(artifact, ValueCheckpoint):
        raise IncompatibleError(
            f"{reference} is {artifact.kind} {artifact.name}-{artifact.id[:8]}, but values or a "
            "value model were expected. See what there is with: recap lineage graph"
        )
    found: Values | None = None
    for manifest in store.artifacts():  # in the order in which they were made
        made = manifest.artifact() if manifest.kind == "values" else None
        if isinstance(made, Values) and artifact.id in made.parents:
            found = made
    if found is None:
        raise DataError(
            f"nothing was valued with {artifact.name}-{artifact.id[:8]} yet. Infer values first, "
            "or judge it on episodes with: recap value evaluate"
        )
    return found
