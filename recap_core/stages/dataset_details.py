"""What a dataset artifact says of itself, from what wrote it or from what it copies."""

from typing import TYPE_CHECKING

from recap_core.lineage.artifacts import AnyDataset, Artifact
from recap_core.lineage.store import Built

if TYPE_CHECKING:
    from recap_core.data.dataset_writer import DatasetSummary


def summary_details(summary: "DatasetSummary") -> Built:
    """Details of a dataset that was just written, and how many raw episodes were left out."""
    details = summary._asdict()
    skipped = details.pop("skipped")
    return Built(details, {"num_skipped_episodes": len(skipped)})


def dataset_details(dataset: AnyDataset) -> dict[str, object]:
    """What a copy of ``dataset`` says of itself: the same."""
    return dataset.model_dump(mode="json", exclude=set(Artifact.model_fields))
