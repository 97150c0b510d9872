"""The directory of a value model.

params/, ema_params/                 raw and averaged parameters (no ``ema_params`` without EMA)
assets/<asset_id>/norm_stats.json    openpi's norm stats, of the state that the model reads; an
                                     imported model has none
value.json                           ValueConfig: sizes, views, tokenizer digest, bins
targets.json                         TargetConfig: what the values count
"""

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from recap_core.checkpoints.params import save_params
from recap_core.checkpoints.policy_checkpoint import (
    PARAMS,
    find_norm_stats,
    read_text,
    write_norm_stats,
)
from recap_core.checkpoints.trees import Tree
from recap_core.config.labels import TargetConfig
from recap_core.config.value import ValueConfig
from recap_core.errors import CheckpointError
from recap_core.transforms.normalize import NormStats

_EMA_PARAMS = "ema_params"
_CONFIG = "value.json"
_TARGETS = "targets.json"


class ValueSettings(NamedTuple):
    """What a value model is, besides its parameters."""

    config: ValueConfig
    targets: TargetConfig
    norm_stats: NormStats | None
    """None: imported weights, which saw no dataset of ours."""


class ValueFiles(NamedTuple):
    """What a value model's directory holds."""

    settings: ValueSettings
    params: Path
    """Directory for :func:`recap_core.checkpoints.params.load_params`."""
    ema_params: Path | None
    """The same for the averaged parameters; None if training kept no average."""


def write_value_model(
    directory: Path, params: Tree, ema_params: Tree | None, settings: ValueSettings
) -> None:
    """Fill the existing, empty ``directory``.

    Raises:
        CheckpointError: If it already holds parameters.
    """
    save_params(directory / PARAMS, params)
    if ema_params is not None:
        save_params(directory / _EMA_PARAMS, ema_params)
    if settings.norm_stats is not None:
        write_norm_stats(directory, settings.config.embodiment.asset_id, settings.norm_stats)
    (directory / _CONFIG).write_text(settings.config.model_dump_json(indent=2) + "\n")
    (directory / _TARGETS).write_text(settings.targets.model_dump_json(indent=2) + "\n")


def read_value_model(directory: Path) -> ValueFiles:
    """Read everything but the parameters.

    Raises:
        CheckpointError: If a file is missing or no valid configuration.
    """
    try:
        config = ValueConfig.model_validate_json(read_text(directory / _CONFIG))
        targets = TargetConfig.model_validate_json(read_text(directory / _TARGETS))
    except ValidationError as error:
        raise CheckpointError(f"{directory} holds an invalid configuration: {error}") from error
    norm_stats = find_norm_stats(directory, config.embodiment.asset_id)
    ema_params = directory / _EMA_PARAMS
    return ValueFiles(
        ValueSettings(config, targets, norm_stats),
        directory / PARAMS,
        ema_params if ema_params.is_dir() else None,
    )
