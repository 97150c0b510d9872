"""What becomes of every feature of an imported dataset, decided before anything is written."""

from dataclasses import dataclass

from recap_core.config.import_dataset import ImportConfig
from recap_core.data.adopted_columns import INTERVENTION_COLUMNS, RecapSources, find_intervention
from recap_core.data.columns import (
    CORRECTION_INDEX,
    Feature,
    correction_index_feature,
    index_features,
    recap_features,
)
from recap_core.data.episode_outcomes import REWARD_COLUMNS, SUCCESS_COLUMNS, find_outcomes
from recap_core.data.foreign_layout import DTYPES, NUMBERS
from recap_core.data.image_columns import image_video_feature
from recap_core.data.info import check_file_name
from recap_core.data.layout import DatasetMeta
from recap_core.errors import ColumnError, ConfigError


@dataclass(frozen=True)
class ImportPlan:
    """Which features go where."""

    names: dict[str, str]
    """New name of every feature that is taken over, by source name; no RECAP column."""
    features: dict[str, Feature]
    """All features of the result but the index columns, by new name."""
    sources: RecapSources
    videos: tuple[str, ...]
    """Source names of cameras whose files are shared."""
    images: tuple[str, ...]
    """Source names of cameras that have to be encoded."""

    @property
    def values(self) -> tuple[str, ...]:
        """Source names of the columns that are taken over as they are."""
        return tuple(name for name in self.names if name not in (*self.videos, *self.images))


def plan_import(meta: DatasetMeta, config: ImportConfig) -> ImportPlan:
    """Decide what becomes of every feature.

    Raises:
        ConfigError: If a setting names what the dataset does not have.
        ColumnError: If a feature cannot be stored.
        DataError: If no outcome is known.
    """
    _check_names(meta, config)
    renamed = {name: config.rename.get(name, name) for name in meta.features}
    kept = {
        source: name
        for source, name in renamed.items()
        if source not in config.drop and source not in index_features()
    }
    recap = recap_features()
    names = {source: name for source, name in kept.items() if name not in recap}
    existing = {
        name: source
        for source, name in kept.items()
        if name in recap and name not in config.recompute
    }
    features = {name: _feature(meta, source, name) for source, name in names.items()}
    readable = [source for source in meta.features if _is_readable(meta, source)]
    by_any_name = {renamed[source]: source for source in readable}
    by_any_name |= {source: source for source in readable}
    episodes = {
        name: meta.episodes.column(name).to_pylist()
        for name in meta.episodes.column_names
        if "/" not in name
    }
    intervention = find_intervention(config, columns=by_any_name)
    outcomes = find_outcomes(
        config, columns=by_any_name, episodes=episodes, num_episodes=meta.num_episodes
    )
    dtypes = {source: meta.features[source]["dtype"] for source in names}
    return ImportPlan(
        names=names,
        features={**features, **recap},
        sources=RecapSources(intervention, outcomes, existing, config.demonstrations),
        videos=tuple(source for source, dtype in dtypes.items() if dtype == "video"),
        images=tuple(source for source, dtype in dtypes.items() if dtype == "image"),
    )


def unread(config: ImportConfig) -> tuple[str, ...]:
    """Dropped features that nothing is made from, by source name; the others have to be read."""
    read = {
        *(config.intervention_from, config.success_from, *recap_features()),
        *(*INTERVENTION_COLUMNS, *SUCCESS_COLUMNS, *REWARD_COLUMNS),
    }
    return tuple(name for name in config.drop if name not in read)


def _is_readable(meta: DatasetMeta, name: str) -> bool:
    """Whether a feature is a column that says something about every frame."""
    feature = meta.features[name]
    is_known = feature["dtype"] in (*NUMBERS, "string") and len(feature["shape"]) <= 1
    return is_known and name not in index_features()


def _check_names(meta: DatasetMeta, config: ImportConfig) -> None:
    """Raise ConfigError unless everything that is renamed or dropped exists, and may be."""
    own = [name for name in meta.features if name not in index_features()]
    for setting, wanted in (("rename", list(config.rename)), ("drop", list(config.drop))):
        for name in wanted:
            if name not in own:
                raise ConfigError(
                    f"{setting} names {name!r}, but {meta.root} has {', '.join(own)}. Correct it."
                )
    recap = [name for name in config.drop if name in recap_features()]
    if recap:
        raise ConfigError(
            f"{recap[0]} cannot be dropped: every RECAP dataset has it. Pass --recompute "
            f"{recap[0]} to write it anew."
        )
    stay = {name for name in meta.features if name not in {*config.rename, *config.drop}}
    for source, target in config.rename.items():
        check_file_name(target, what=f"the new name of {source}")
        if target in stay or target in index_features():
            raise ConfigError(
                f"{source} cannot be renamed to {target}: {meta.root} has a {target} already. "
                "Rename or drop that one, or choose another name."
            )


def _feature(meta: DatasetMeta, name: str, new_name: str) -> Feature:
    """A feature as we describe it under its new name.

    Raises:
        ColumnError: If a column of that kind cannot be stored.
    """
    feature = meta.features[name]
    dtype, shape = feature["dtype"], list(feature["shape"])
    if new_name == CORRECTION_INDEX:
        if dtype.rstrip("0123456789") not in ("int", "uint") or shape not in ([], [1]):
            raise ColumnError(
                f"{name} of {meta.root} has dtype {dtype} and shape {shape}, but "
                f"{CORRECTION_INDEX} counts corrections in whole numbers. Leave it out with "
                f"--drop {name}, or rename it."
            )
        return correction_index_feature()[CORRECTION_INDEX]
    if dtype == "image":
        return image_video_feature(name, feature, fps=meta.fps)
    is_storable = dtype in DTYPES and (
        dtype == "video" or (len(shape) <= 1 and (dtype != "string" or shape in ([], [1])))
    )
    if not is_storable:
        raise ColumnError(
            f"feature {name} of {meta.root} has dtype {dtype} and shape {shape}; numbers, vectors "
            f"of numbers, text, images and videos can be stored. Leave it out with --drop {name}."
        )
    return {**feature, "shape": shape or [1], "names": feature.get("names")}
