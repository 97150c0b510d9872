"""Labels in another tool's layout, outside the store."""

from pathlib import Path
from typing import TYPE_CHECKING

from recap_core.config.interchange import ExportLabelsConfig
from recap_core.lineage.artifacts import Labels
from recap_core.lineage.store import Store
from recap_core.stages.label_origin import values_behind

if TYPE_CHECKING:
    import numpy as np

    from recap_core.data.interchange.tools import Written


def export_labels(
    labels: Labels, output: Path, config: ExportLabelsConfig, *, share: bool, store: Store
) -> "Written":
    """Write labels, with V where it is stored, in another tool's layout outside the store.

    Args:
        labels: What to write; their dataset is found through their lineage.
        output: Directory that does not exist or is empty; it appears whole or not at all.
        config: Which tool, and what becomes of what it cannot hold.
        share: Hard-link videos; they are the store's own files, so only for tools that do not write
            into them.
        store: Where everything is.

    Raises:
        CorruptArtifactError: If the labels or the dataset differ from what was published.
        DataError: If the tool cannot hold these labels, or ``output`` is taken.
    """
    from recap_core.data.frames import read_frames
    from recap_core.data.interchange.exchanged import ExchangedLabels
    from recap_core.data.interchange.tools import write_labels
    from recap_core.data.label_table import LABELS_FILE, read_label_table
    from recap_core.lineage.atomic_directory import atomic_directory

    dataset = store.get(labels.parents[0])
    for artifact in (labels, dataset):
        store.verify(artifact)
    exchanged = ExchangedLabels(
        read_label_table(store.path(labels) / LABELS_FILE), _stored_values(labels, store)
    )
    with atomic_directory(output) as draft:
        return write_labels(
            draft,
            read_frames(store.path(dataset)),
            exchanged,
            config,
            dataset_name=dataset.name,
            share=share,
            digests=store.digests,
        )


def _stored_values(labels: Labels, store: Store) -> "np.ndarray | None":
    """V of the labels' frames: imported with them, or what they were made from.

    None also where demonstrations have none: tools keep V of all frames, or of no frame.
    """
    import numpy as np

    from recap_core.valuation.values import read_values

    source = values_behind(labels, store)
    if source is None:
        return None  # the tool that they were imported from keeps none
    store.verify(source)
    values = read_values(store.path(source))
    return None if np.isnan(values).any() else values
