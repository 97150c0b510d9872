"""Several datasets into one: demonstrations and the rollouts of every round."""

from collections.abc import Sequence

from recap_core.config.dataset import MergeConfig
from recap_core.lineage.artifacts import Dataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.registry import MERGE


def merge_datasets(
    datasets: Sequence[Dataset],
    config: MergeConfig,
    *,
    name: str,
    store: Store,
    progress: Progress | None = None,
) -> Dataset:
    """One dataset from several of equal fps and features, episodes in the given order.

    Videos are shared by hard link; ``source`` and ``round`` of every episode are kept.

    Raises:
        IncompatibleError: If fps or features differ, naming the feature.
    """

    def build(area: Build) -> Built:
        from recap_core.data.merge import merge_datasets as merge

        sources = [store.path(dataset) for dataset in datasets]
        summary = merge(sources, area.output, digests=store.digests, progress=progress)
        return Built(summary._asdict())

    return store.produce(MERGE, config, {"datasets": datasets}, name=name, build=build)
