"""Robots on the command line: a known name, or a YAML file with the settings of one."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.embodiments import EMBODIMENTS
from recap_core.config.overlay import explain, read_settings
from recap_core.errors import ConfigError

if TYPE_CHECKING:
    from recap_core.data.layout import DatasetMeta


def load_embodiment(given: str) -> EmbodimentConfig:
    """The robot of a name or a YAML file.

    Raises:
        ConfigError: If it is neither, or the file holds settings that no robot can have.
    """
    if given in EMBODIMENTS:
        return EMBODIMENTS[given]
    file = Path(given)
    if not file.exists():
        raise ConfigError(
            f"{given!r} is neither a known robot ({', '.join(EMBODIMENTS)}) nor a file. "
            "docs/robots.md shows how to describe another robot in YAML."
        )
    try:
        return EmbodimentConfig.model_validate(read_settings(file))
    except ValidationError as error:
        raise ConfigError(f"{file}: {explain(error, EmbodimentConfig)}") from None


def check_embodiment(embodiment: EmbodimentConfig, dataset: str) -> list[str]:
    """What a robot's settings find in a dataset, a line each.

    Raises:
        ArtifactNotFoundError: If there is no such dataset.
        ColumnError: If a column is missing or has another width.
        ConfigError: If a view is no camera.
    """
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from recap_core.data.layout import read_meta, require_features
    from recap_core.data.norm_stats import check_robot_dimensions
    from recap_core.lineage.artifacts import AnyDataset

    store = open_store()
    found = artifact_of_kind(store, dataset, AnyDataset, wanted="a dataset")
    meta = read_meta(store.path(found))
    require_features(meta, (*embodiment.state, embodiment.action, *embodiment.views.values()))
    check_robot_dimensions(meta, embodiment)
    _check_cameras(embodiment, meta)
    widths = [f"{name} {meta.features[name]['shape'][0]}" for name in embodiment.state]
    action = f"{embodiment.action} {meta.features[embodiment.action]['shape'][0]}"
    cameras = [f"{view}: {camera}" for view, camera in embodiment.views.items()]
    return [
        f"checked against {found.name}",
        f"state: {' + '.join(widths)} dims; action: {action} dims",
        *(cameras or ["no cameras"]),
    ]


def _check_cameras(embodiment: EmbodimentConfig, meta: "DatasetMeta") -> None:
    for view, camera in embodiment.views.items():
        kind = meta.features[camera]["dtype"]
        if kind not in ("video", "image"):
            raise ConfigError(
                f"views.{view} is {camera!r}, which holds {kind} in {meta.root}; name a camera"
            )
