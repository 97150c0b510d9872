"""Normalisation statistics of a dataset, in openpi's file format."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from recap_core.config.dataset import LoadNormStatsConfig, NormStatsConfig
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.lineage.artifacts import AnyDataset, NormStats
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import LOAD_NORM_STATS, NORM_STATS

if TYPE_CHECKING:
    from recap_core.data.columns import Feature
    from recap_core.data.norm_stats import NormStatistics
    from recap_core.transforms.normalize import NormStats as Statistics

logger = logging.getLogger(__name__)

NORM_STATS_FILE = "norm_stats.json"


def compute_norm_stats(
    dataset: AnyDataset, config: NormStatsConfig, *, name: str, store: Store
) -> NormStats:
    """Mean, std and quantiles of state and (relative) actions, from the parquet files alone.

    Dimensions that hardly move are warned of; their number is the metric ``narrow_dimensions``.
    """

    def build(area: Build) -> Built:
        from recap_core.data.norm_stats import compute_norm_stats as compute

        return _keep(compute(store.path(dataset), config), dataset, config.embodiment, area, store)

    return store.produce(NORM_STATS, config, {"dataset": dataset}, name=name, build=build)


def load_norm_stats(
    path: Path, dataset: AnyDataset, embodiment: EmbodimentConfig, *, name: str, store: Store
) -> NormStats:
    """Statistics that were computed elsewhere, for the robot that recorded ``dataset``.

    Args:
        path: openpi's ``norm_stats.json``.
        dataset: What they are to be used with; their dimensions must be equal.
        embodiment: Which columns are state and actions.
        name: Name of the artifact.
        store: Where it is published.

    Raises:
        DataError: If the file cannot be read.
        ColumnError: If it is of another robot.
    """
    from recap_core.data.norm_stats import load_norm_stats as load

    stats = load(path)
    content = {
        feature: {field: tuple(values.tolist()) for field, values in norm._asdict().items()}
        for feature, norm in stats.items()
    }
    config = LoadNormStatsConfig(embodiment=embodiment, norm_stats=content)

    def build(area: Build) -> Built:
        from recap_core.data.layout import read_meta, require_features
        from recap_core.data.norm_stats import check_dimensions, check_robot_dimensions

        meta = read_meta(store.path(dataset))
        require_features(meta, (*embodiment.state, embodiment.action))
        dims = {
            "state": sum(meta.features[name]["shape"][0] for name in embodiment.state),
            "actions": meta.features[embodiment.action]["shape"][0],
        }
        check_robot_dimensions(meta, embodiment)
        is_explicit = None not in (embodiment.state_dim, embodiment.action_dim)
        check_dimensions(stats, dims, where=str(path), may_be_padded=is_explicit)
        return _keep(stats, dataset, embodiment, area, store)

    return store.produce(LOAD_NORM_STATS, config, {"dataset": dataset}, name=name, build=build)


def _keep(
    stats: "NormStatistics",
    dataset: AnyDataset,
    embodiment: EmbodimentConfig,
    area: Build,
    store: Store,
) -> Built:
    """Write the file, and warn of dimensions that hardly move."""
    from recap_core.data.layout import read_meta
    from recap_core.data.norm_stats import first_dimensions, narrow_dimensions, write_norm_stats

    features = read_meta(store.path(dataset)).features
    names = {
        "state": [name for feature in embodiment.state for name in _names(features[feature])],
        "actions": _names(features[embodiment.action]),
    }
    dims = {
        "state": sum(features[feature]["shape"][0] for feature in embodiment.state),
        "actions": features[embodiment.action]["shape"][0],
    }
    warnings = narrow_dimensions(first_dimensions(stats, dims), names)
    for warning in warnings:
        logger.warning("norm stats of %s: %s", dataset.name, warning)
    write_norm_stats(area.output / NORM_STATS_FILE, stats)
    return Built({"num_frames": dataset.num_frames}, {"narrow_dimensions": len(warnings)})


def _names(feature: "Feature") -> list[str]:
    names = feature.get("names")
    return list(names) if isinstance(names, list) else []


def read_statistics(path: Path) -> "Statistics":
    """The statistics in an openpi ``norm_stats.json``.

    Raises:
        DataError: If the file lacks a statistic.
    """
    from recap_core.transforms.normalize import NormStats as Statistics

    return Statistics.from_json_dict(json.loads(path.read_text()))
