"""A policy as a checkpoint of openpi's: one step of an experiment that openpi's tools read.

    <experiment>/<step>/_CHECKPOINT_METADATA              which part was written by which handler
    <experiment>/<step>/params/
    <experiment>/<step>/assets/<asset_id>/norm_stats.json
    <experiment>/<step>/policy.json                       ours; openpi does not look at it

There is no ``train_state``: openpi serves such a step and starts trainings from it, but cannot
resume one.
"""

import json
import shutil
import time
from pathlib import Path

from recap_core.checkpoints.locate import ASSETS, PARAMS
from recap_core.checkpoints.merging import merged_params
from recap_core.checkpoints.params import has_nnx_values, load_params, save_params
from recap_core.checkpoints.policy_checkpoint import (
    find_norm_stats,
    read_policy_config,
    write_settings,
)
from recap_core.config.policy import PolicyConfig
from recap_core.lineage.files import walk
from recap_core.progress import Progress, Silent

_METADATA = "_CHECKPOINT_METADATA"
_HANDLERS = {
    ASSETS: "openpi.training.checkpoints.CallbackHandler",
    PARAMS: "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler",
}


def write_openpi_step(
    policy: Path,
    step: Path,
    *,
    nnx_values: bool | None = None,
    merge_lora: bool = False,
    progress: Progress | None = None,
) -> PolicyConfig:
    """Fill the empty directory ``step`` with a copy of ``policy`` in openpi's layout.

    Args:
        policy: A policy's directory.
        step: Named by the number of the step, an integer.
        nnx_values: Whether every leaf lies one level deeper under ``value``, as in what openpi's
            training writes; None: as in ``policy``, whose files are then copied unread.
        merge_lora: Fold LoRA adapters into their weights: the result is a full policy of float32.
        progress: Who watches.

    Returns:
        The configuration of what was written.

    Raises:
        CheckpointError: If ``policy`` is incomplete or damaged.
        ConfigError: If adapters are to be merged and there are none.
    """
    config = read_policy_config(policy)
    norm_stats = find_norm_stats(policy, config.embodiment.asset_id)
    source = policy / PARAMS
    stored_values = has_nnx_values(source)
    values = stored_values if nnx_values is None else nnx_values
    if merge_lora:
        params, config = merged_params(source, config)
        save_params(step / PARAMS, params, nnx_values=values)
    elif values == stored_values:
        copy_files(source, step / PARAMS, progress=progress)
    else:
        save_params(step / PARAMS, load_params(source), nnx_values=values)
    write_settings(step, config, norm_stats)
    _write_metadata(step, has_assets=norm_stats is not None)
    return config


def copy_files(source: Path, target: Path, *, progress: Progress | None = None) -> None:
    """Copy a tree into the new directory ``target``: nothing linked, nothing read-only."""
    files = walk(source).files
    with (progress or Silent()).bar("copy parameters", len(files)) as bar:
        for done, file in enumerate(files, start=1):
            path = target / file.relative
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, path)
            bar.update(done)


def _write_metadata(step: Path, *, has_assets: bool) -> None:
    """What Orbax's CheckpointManager writes beside the parts of a step."""
    handlers = {part: name for part, name in _HANDLERS.items() if has_assets or part != ASSETS}
    now = time.time_ns()
    content = {
        "item_handlers": handlers,
        "metrics": {},
        "performance_metrics": {},
        "init_timestamp_nsecs": now,
        "commit_timestamp_nsecs": now,
        "custom_metadata": {},
    }
    (step / _METADATA).write_text(json.dumps(content))
