"""Stage 5: labels into the ``adv_ind`` column of a copy, with where they come from beside them."""

from typing import TYPE_CHECKING, Any

from recap_core.config.labels import LabelConfig
from recap_core.errors import ArtifactNotFoundError, IncompatibleError
from recap_core.lineage.artifacts import AnyDataset, DatasetCopy, Labels, RelabeledDataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.dataset_details import dataset_details
from recap_core.stages.label_origin import read_rule, values_behind
from recap_core.stages.registry import RELABEL, NoSettings

if TYPE_CHECKING:
    import numpy as np

    from recap_core.data.frames import FrameTable
    from recap_core.data.label_table import LabelTable


def relabel_dataset(
    copy: DatasetCopy, labels: Labels, *, name: str, store: Store
) -> RelabeledDataset:
    """Write ``labels`` into the ``adv_ind`` column of ``copy``, as a new dataset.

    Parquet files are rewritten, everything else is shared by hard link. V, advantage, rank and
    threshold of every frame, and where they come from, are written into its ``meta`` directory.
    Before it is published, what must hold of labels and of a relabelled dataset is checked
    (SPEC §9.4).

    Raises:
        IncompatibleError: If the labels belong to another dataset than the copy.
        ColumnError: If the labels are not what their rule promises.
        DataError: If another column than ``adv_ind`` would differ.
        CorruptArtifactError: If an input, or the dataset that was copied, is no longer what was
            published.
    """
    if labels.parents[0] != copy.parents[0]:
        raise IncompatibleError(
            f"labels {labels.name}-{labels.id[:8]} belong to dataset {labels.parents[0][:8]}, and "
            f"copy {copy.name}-{copy.id[:8]} was made from {copy.parents[0][:8]}: label the "
            "dataset that was copied"
        )

    def build(area: Build) -> Built:
        from recap_core.data.frames import read_frames
        from recap_core.data.label_sidecar import write_sidecar
        from recap_core.data.label_table import LABELS_FILE, read_label_table
        from recap_core.data.relabel import write_adv_ind
        from recap_core.data.relabel_checks import check_relabel

        source = store.path(copy)
        table = read_label_table(store.path(labels) / LABELS_FILE)
        frames = read_frames(source)
        rule = read_rule(store.path(labels))
        _check_labels(frames, table, rule)
        new_bytes = write_adv_ind(source, area.output, table.adv_ind, digests=store.digests)
        check_relabel(source, area.output, table.adv_ind)
        new_bytes += write_sidecar(
            area.output,
            frames,
            table,
            _facts(labels, rule, store),
            values=_stored_values(labels, store),
            thresholds=_thresholds(frames, rule),
        )
        _check_original(copy, store)
        return Built(dataset_details(copy), {"new_bytes": new_bytes})

    inputs = {"copy": copy, "labels": labels}
    return store.produce(RELABEL, NoSettings(), inputs, name=name, build=build)


def _check_labels(frames: "FrameTable", table: "LabelTable", rule: dict[str, Any] | None) -> None:
    """Raise ColumnError unless the labels are what their rule promises.

    Of labels that another tool made only completeness is known.
    """
    import numpy as np

    from recap_core.labels.invariants import check_complete, check_labels
    from recap_core.stages.label_inputs import label_inputs, label_rule

    if len(table.adv_ind) != frames.num_frames:
        raise IncompatibleError(
            f"{len(table.adv_ind)} labels were given, but the dataset has {frames.num_frames} "
            "frames. Label this dataset, not another one."
        )
    if rule is None:
        check_complete(table.adv_ind, ~(frames.is_intervention | frames.is_paused))
        return
    config = LabelConfig.model_validate(rule["rule"])
    unknown = np.zeros(0, dtype=np.float32)
    inputs = label_inputs(frames, unknown, config.frozen_arms)
    check_labels(table.adv_ind, table.rank, inputs.frames, inputs.episodes, label_rule(config))


def _facts(labels: Labels, rule: dict[str, Any] | None, store: Store) -> dict[str, Any]:
    """Where the labels come from, and what they came to."""
    manifest = store.manifest(labels)
    values = _values(labels, store)
    parents = values.parents if values is not None and values != labels else ()
    return {
        "schema_version": 1,
        "labels": labels.id,
        "dataset": labels.parents[0],
        "values": None if values is None else values.id,
        "value_model": parents[1] if len(parents) > 1 else None,
        "made_by": manifest.stage,
        "code_version": manifest.code_version,
        "rule": None if rule is None else rule["rule"],
        "groups": None if rule is None else rule["groups"],
        "thresholds": None if rule is None else rule["thresholds"],
        "autonomous_positive_share": labels.autonomous_positive_share,
        "num_positive": labels.num_positive,
        "num_negative": labels.num_negative,
        "num_none": labels.num_none,
    }


def _values(labels: Labels, store: Store) -> Any:  # noqa: ANN401 - values or imported labels
    try:
        return values_behind(labels, store)
    except ArtifactNotFoundError:
        return None  # they were removed; the labels stand without them


def _stored_values(labels: Labels, store: Store) -> "np.ndarray | None":
    from recap_core.valuation.values import read_values

    values = _values(labels, store)
    return None if values is None else read_values(store.path(values))


def _thresholds(frames: "FrameTable", rule: dict[str, Any] | None) -> "np.ndarray | None":
    """Threshold of every frame's group; NaN where there is none."""
    import numpy as np

    if rule is None:
        return None
    by_name = {
        group["name"]: np.nan if group["threshold"] is None else group["threshold"]
        for group in rule["groups"]
    }
    per = LabelConfig.model_validate(rule["rule"]).threshold_per
    if per == "dataset":
        return np.full(frames.num_frames, next(iter(by_name.values()), np.nan))
    names = frames.sources if per == "source" else [frames.tasks[t] for t in frames.episode_tasks]
    of_episode = np.array([by_name.get(name, np.nan) for name in names])
    return np.repeat(of_episode, frames.episode_lengths)


def _check_original(copy: DatasetCopy, store: Store) -> None:
    """Raise CorruptArtifactError if the dataset that was copied has changed."""
    try:
        original = store.get(copy.parents[0])
    except ArtifactNotFoundError:
        return  # it was removed; the copy, which is verified as an input, is equal to it
    if isinstance(original, AnyDataset):
        store.verify(original)
