"""Stage 5: labels into the ``adv_ind`` column of a copy."""

from recap_core.errors import IncompatibleError
from recap_core.lineage.artifacts import DatasetCopy, Labels, RelabeledDataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.dataset_details import dataset_details
from recap_core.stages.registry import RELABEL, NoSettings


def relabel_dataset(
    copy: DatasetCopy, labels: Labels, *, name: str, store: Store
) -> RelabeledDataset:
    """Write ``labels`` into the ``adv_ind`` column of ``copy``, as a new dataset.

    Parquet files are rewritten, everything else is shared by hard link.

    Raises:
        IncompatibleError: If the labels belong to another dataset than the copy.
    """
    if labels.parents[0] != copy.parents[0]:
        raise IncompatibleError(
            f"labels {labels.name}-{labels.id[:8]} belong to dataset {labels.parents[0][:8]}, and "
            f"copy {copy.name}-{copy.id[:8]} was made from {copy.parents[0][:8]}: label the "
            "dataset that was copied"
        )

    def build(area: Build) -> Built:
        from recap_core.data.label_table import LABELS_FILE, read_label_table
        from recap_core.data.relabel import write_adv_ind

        table = read_label_table(store.path(labels) / LABELS_FILE)
        new_bytes = write_adv_ind(
            store.path(copy), area.output, table.adv_ind, digests=store.digests
        )
        return Built(dataset_details(copy), {"new_bytes": new_bytes})

    inputs = {"copy": copy, "labels": labels}
    return store.produce(RELABEL, NoSettings(), inputs, name=name, build=build)
