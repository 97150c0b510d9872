"""What the copy of a dataset says of itself."""

from recap_core.lineage.artifacts import AnyDataset, Artifact


def dataset_details(dataset: AnyDataset) -> dict[str, object]:
    """The same as ``dataset``: everything that is not identity."""
    return dataset.model_dump(mode="json", exclude=set(Artifact.model_fields))
