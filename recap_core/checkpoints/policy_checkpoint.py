"""The directory of a policy: openpi's layout plus the configuration that it was trained with.

params/                              parameters, averaged where training averaged them
assets/<asset_id>/norm_stats.json    openpi's norm stats
policy.json                          PolicyConfig
"""

import json
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from recap_core.checkpoints.params import save_params
from recap_core.checkpoints.trees import Tree
from recap_core.config.policy import PolicyConfig
from recap_core.errors import CheckpointError
from recap_core.transforms.normalize import NormStats

PARAMS = "params"
_CONFIG = "policy.json"


class PolicyFiles(NamedTuple):
    """What a policy directory holds besides its parameters."""

    config: PolicyConfig
    norm_stats: NormStats
    params: Path
    """Directory for :func:`recap_core.checkpoints.params.load_params`."""


def write_policy(
    directory: Path, params: Tree, config: PolicyConfig, norm_stats: NormStats
) -> None:
    """Fill the existing, empty ``directory``.

    Raises:
        CheckpointError: If it already holds parameters.
    """
    save_params(directory / PARAMS, params)
    write_norm_stats(directory, config.embodiment.asset_id, norm_stats)
    (directory / _CONFIG).write_text(config.model_dump_json(indent=2) + "\n")


def read_policy(directory: Path) -> PolicyFiles:
    """Read everything but the parameters.

    Raises:
        CheckpointError: If a file is missing or no policy configuration.
    """
    try:
        config = PolicyConfig.model_validate_json(read_text(directory / _CONFIG))
    except ValidationError as error:
        raise CheckpointError(
            f"{directory / _CONFIG} is no policy configuration: {error}"
        ) from error
    norm_stats = read_norm_stats(directory, config.embodiment.asset_id)
    return PolicyFiles(config, norm_stats, directory / PARAMS)


def write_norm_stats(directory: Path, asset_id: str, norm_stats: NormStats) -> None:
    """Write ``assets/<asset_id>/norm_stats.json``, as openpi does."""
    path = norm_stats_path(directory, asset_id)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(norm_stats.to_json_dict(), indent=2))


def read_norm_stats(directory: Path, asset_id: str) -> NormStats:
    """Read ``assets/<asset_id>/norm_stats.json``.

    Raises:
        CheckpointError: If there is none; names the assets that there are.
    """
    path = norm_stats_path(directory, asset_id)
    if not path.is_file():
        found = sorted(p.parent.name for p in directory.glob("assets/**/norm_stats.json"))
        raise CheckpointError(
            f"{directory} has no norm stats of asset {asset_id!r}, only of {found}. "
            "Set embodiment.asset_id to one of them."
        )
    return NormStats.from_json_dict(json.loads(path.read_text()))


def read_text(path: Path) -> str:
    """Content of a file of a checkpoint.

    Raises:
        CheckpointError: If it is missing.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing, so {path.parent} is not a complete checkpoint")
    return path.read_text()


def norm_stats_path(directory: Path, asset_id: str) -> Path:
    """Where a policy's directory keeps the norm stats of an asset."""
    return directory / "assets" / asset_id / "norm_stats.json"
