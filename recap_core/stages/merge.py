"""Several datasets into one: demonstrations and the rollouts of every round."""

from collections.abc import Sequence

from recap_core.config.dataset import MergeConfig
from recap_core.lineage.artifacts import Annotations, Dataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.annotate import read_corrections
from recap_core.stages.registry import MERGE


def merge_datasets(  # noqa: PLR0913 - all but the first two by name
    datasets: Sequence[Dataset],
    config: MergeConfig,
    *,
    annotations: Annotations | None = None,
    name: str,
    store: Store,
    progress: Progress | None = None,
) -> Dataset:
    """One dataset from several of equal fps and features, episodes in the given order.

    Videos are shared by hard link; ``source`` and ``round`` of every episode are kept. Annotated
    episodes are left out, or get their corrected outcome.

    Raises:
        IncompatibleError: If fps or features differ, naming the feature.
        ConfigError: If ``repeats`` is not one number per dataset.
    """

    def build(area: Build) -> Built:
        from recap_core.data.merge import merge_datasets as merge

        summary = merge(
            [store.path(dataset) for dataset in datasets],
            area.output,
            names=[dataset.id for dataset in datasets],
            repeats=config.repeats,
            corrections=None if annotations is None else read_corrections(annotations, store),
            digests=store.digests,
            progress=progress,
        )
        return Built(summary._asdict())

    inputs = {"datasets": datasets, "annotations": annotations}
    return store.produce(MERGE, config, inputs, name=name, build=build)
