"""Normalisation statistics of a dataset, in openpi's file format."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from recap_core.config.dataset import NormStatsConfig
from recap_core.lineage.artifacts import AnyDataset, NormStats
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import NORM_STATS

if TYPE_CHECKING:
    from recap_core.transforms.normalize import NormStats as Statistics

NORM_STATS_FILE = "norm_stats.json"


def compute_norm_stats(
    dataset: AnyDataset, config: NormStatsConfig, *, name: str, store: Store
) -> NormStats:
    """Mean, std and quantiles of state and (relative) actions, from the parquet files alone."""

    def build(area: Build) -> Built:
        from recap_core.data.norm_stats import compute_norm_stats as compute
        from recap_core.data.norm_stats import write_norm_stats

        write_norm_stats(area.output / NORM_STATS_FILE, compute(store.path(dataset), config))
        return Built({"num_frames": dataset.num_frames})

    return store.produce(NORM_STATS, config, {"dataset": dataset}, name=name, build=build)


def read_statistics(path: Path) -> "Statistics":
    """The statistics in an openpi ``norm_stats.json``.

    Raises:
        DataError: If the file lacks a statistic.
    """
    from recap_core.transforms.normalize import NormStats as Statistics

    return Statistics.from_json_dict(json.loads(path.read_text()))
