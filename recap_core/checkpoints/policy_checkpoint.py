"""The directory of a policy: openpi's layout plus the configuration that it was trained with.

params/                              parameters, averaged where training averaged them
assets/<asset_id>/norm_stats.json    openpi's norm stats; a base policy that has yet to be trained
                                     for a robot has none
policy.json                          PolicyConfig
"""

import json
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from recap_core.checkpoints.locate import ASSETS, NORM_STATS, PARAMS
from recap_core.checkpoints.params import save_params
from recap_core.checkpoints.trees import Tree
from recap_core.config.policy import PolicyConfig
from recap_core.errors import CheckpointError
from recap_core.transforms.normalize import NormStats

CONFIG = "policy.json"
MAX_TEXT_BYTES = 64 << 20
"""Largest JSON file of a checkpoint that is read."""


class PolicyFiles(NamedTuple):
    """What a policy directory holds besides its parameters."""

    config: PolicyConfig
    norm_stats: NormStats
    params: Path
    """Directory for :func:`recap_core.checkpoints.params.load_params`."""


def write_policy(
    directory: Path, params: Tree, config: PolicyConfig, norm_stats: NormStats | None
) -> None:
    """Fill the existing, empty ``directory``.

    Raises:
        CheckpointError: If it already holds parameters, a parameter is not finite, or the asset id
            leads out of the checkpoint.
    """
    norm_stats_path(directory, config.embodiment.asset_id)  # refused before anything is written
    save_params(directory / PARAMS, params)
    write_settings(directory, config, norm_stats)


def write_settings(directory: Path, config: PolicyConfig, norm_stats: NormStats | None) -> None:
    """Write everything but the parameters; None: a base policy, with no robot's norm stats.

    Raises:
        CheckpointError: If the asset id leads out of the checkpoint.
    """
    if norm_stats is not None:
        write_norm_stats(directory, config.embodiment.asset_id, norm_stats)
    (directory / CONFIG).write_text(config.model_dump_json(indent=2) + "\n")


def read_policy(directory: Path) -> PolicyFiles:
    """Read everything but the parameters.

    Raises:
        CheckpointError: If a file is missing or no policy configuration.
    """
    config = read_policy_config(directory)
    norm_stats = read_norm_stats(directory, config.embodiment.asset_id)
    return PolicyFiles(config, norm_stats, directory / PARAMS)


def read_policy_config(directory: Path) -> PolicyConfig:
    """The configuration alone; a base policy has no norm stats to read.

    Raises:
        CheckpointError: If it is missing or no policy configuration.
    """
    try:
        return PolicyConfig.model_validate_json(read_text(directory / CONFIG))
    except ValidationError as error:
        raise CheckpointError(
            f"{directory / CONFIG} is no policy configuration: {error}"
        ) from error


def write_norm_stats(directory: Path, asset_id: str, norm_stats: NormStats) -> None:
    """Write ``assets/<asset_id>/norm_stats.json``, as openpi does.

    Raises:
        CheckpointError: If the asset id leads out of the checkpoint.
    """
    path = norm_stats_path(directory, asset_id)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(norm_stats.to_json_dict(), indent=2))


def read_norm_stats(directory: Path, asset_id: str) -> NormStats:
    """Read ``assets/<asset_id>/norm_stats.json``.

    Raises:
        CheckpointError: If there is none; names the assets that there are.
        DataError: If it holds no norm stats.
    """
    found = find_norm_stats(directory, asset_id)
    if found is None:
        others = list(asset_ids(directory))
        hint = (
            f"only of {others}. Set embodiment.asset_id to one of them."
            if others
            else "nor of any other: it is a base policy. Train it for a robot first."
        )
        raise CheckpointError(f"{directory} has no norm stats of asset {asset_id!r}, {hint}")
    return found


def find_norm_stats(directory: Path, asset_id: str) -> NormStats | None:
    """The norm stats of an asset; None if there are none.

    Raises:
        CheckpointError: If the file is no JSON, or the asset id leads out of the checkpoint.
        DataError: If it holds no norm stats.
    """
    path = norm_stats_path(directory, asset_id)
    if not path.is_file():
        return None
    try:
        return NormStats.from_json_dict(json.loads(read_text(path)))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read as norm stats: {error}") from error


def asset_ids(directory: Path) -> tuple[str, ...]:
    """The assets that a checkpoint has norm stats of, sorted."""
    assets = directory / ASSETS
    found = sorted(assets.glob(f"**/{NORM_STATS}"))
    return tuple(path.parent.relative_to(assets).as_posix() for path in found)


def norm_stats_path(directory: Path, asset_id: str) -> Path:
    """Path of an asset's norm stats; ids may be nested, as in ``local/my-dataset``.

    Raises:
        CheckpointError: If the id leads out of the checkpoint's assets.
    """
    parts = asset_id.split("/")
    if any(part in {"", ".", ".."} or "\0" in part or "\\" in part for part in parts):
        raise CheckpointError(
            f"asset id {asset_id!r} is no name inside of a checkpoint. Use names joined by '/', "
            "such as trossen or local/my-dataset."
        )
    return directory.joinpath(ASSETS, *parts, NORM_STATS)


def read_text(path: Path) -> str:
    """Content of a small file of a checkpoint.

    Raises:
        CheckpointError: If it is missing, too large, or no text.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing, so {path.parent} is not a complete checkpoint")
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise CheckpointError(
            f"{path} has {size:,} bytes, more than the {MAX_TEXT_BYTES:,} that such a file may have"
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is no text: {error}") from error
