"""Labels that another tool made, as labels of ours."""

from pathlib import Path

from recap_core.config.interchange import ImportLabelsConfig, LabelSourceConfig
from recap_core.errors import DataError
from recap_core.lineage.artifacts import AnyDataset, Labels
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import IMPORT_LABELS


def import_config(
    dataset: AnyDataset, source: Path, config: LabelSourceConfig, *, store: Store
) -> ImportLabelsConfig:
    """What :func:`import_labels` needs to know, with the digest of what the source says.

    Raises:
        DataError: If the source cannot be read, or does not fit the dataset.
    """
    from recap_core.data.frames import read_frames
    from recap_core.data.interchange.tools import read_labels

    exchanged = read_labels(source, read_frames(store.path(dataset)), config)
    return ImportLabelsConfig(**config.model_dump(), content_digest=exchanged.digest())


def import_labels(
    dataset: AnyDataset, source: Path, config: ImportLabelsConfig, *, name: str, store: Store
) -> Labels:
    """Publish another tool's labels of ``dataset``: every frame once, in our layout.

    Args:
        dataset: What was labelled.
        source: The tool's file, or the dataset that it annotated. Not part of the result's key:
            the digest in ``config`` is.
        config: From :func:`import_config`.
        name: Name of the artifact.
        store: Where everything is.

    Raises:
        DataError: If the source cannot be read, does not fit the dataset, or changed since
            ``config`` was made.
    """

    def build(area: Build) -> Built:
        import numpy as np

        from recap_core.data.frames import read_frames
        from recap_core.data.interchange.tools import read_labels
        from recap_core.data.label_table import LABELS_FILE, write_label_table
        from recap_core.labels.adv_ind import NAMES, POSITIVE
        from recap_core.valuation.values import write_values

        table = read_frames(store.path(dataset))
        exchanged = read_labels(source, table, config)
        if exchanged.digest() != config.content_digest:
            raise DataError(f"{source} changed while it was imported. Import it again.")
        write_label_table(area.output / LABELS_FILE, exchanged.labels)
        if exchanged.values is not None:
            write_values(area.output, exchanged.values)
        adv_ind = exchanged.labels.adv_ind
        is_autonomous = ~(table.is_intervention | table.is_paused)
        num_judged = max(int(is_autonomous.sum()), 1)
        counts = np.bincount(adv_ind, minlength=len(NAMES)).tolist()
        return Built(
            {
                "num_frames": len(adv_ind),
                **{f"num_{label}": counts[code] for code, label in enumerate(NAMES)},
                "autonomous_positive_share": int((adv_ind[is_autonomous] == POSITIVE).sum())
                / num_judged,
            }
        )

    return store.produce(IMPORT_LABELS, config, {"dataset": dataset}, name=name, build=build)
