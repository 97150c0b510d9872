"""Where the parameters and the norm stats of an openpi checkpoint lie.

A person may name any of

    <experiment>/                    what one training run wrote: a directory per step
    <experiment>/<step>/             params/, assets/, train_state/ (released ones have no step)
    <experiment>/<step>/params/      the parameters themselves

A directory that this package published (``params/``, ``assets/``, ``policy.json``) is of the second
kind.
"""

import logging
from pathlib import Path
from typing import NamedTuple

from recap_core.errors import CheckpointError

_log = logging.getLogger(__name__)

PARAMS = "params"
ASSETS = "assets"
NORM_STATS = "norm_stats.json"


class CheckpointPlace(NamedTuple):
    """The parts of one checkpoint."""

    root: Path
    """Directory that holds the parts."""
    params: Path
    step: int | None
    """Number of the step directory: the index of the last training step, from 0; None if the
    directory is named otherwise, as released checkpoints are."""
    num_steps_found: int
    """Complete steps of the experiment that was named; 1 where a step or its parameters were."""


def locate_checkpoint(path: Path) -> CheckpointPlace:
    """Find the parameters in ``path``; of an experiment, those of its newest complete step.

    Raises:
        CheckpointError: If there are none; says what is there instead.
    """
    path = path.expanduser().absolute()
    if not path.is_dir():
        raise CheckpointError(f"there is no directory {path}. Check the path.")
    if is_complete(path):
        return _place(path.parent, path)
    if is_complete(path / PARAMS):
        return _place(path, path / PARAMS)
    steps = sorted(
        (entry for entry in path.iterdir() if entry.is_dir() and _step(entry) is not None),
        key=lambda entry: int(entry.name),
    )
    complete = [entry for entry in steps if is_complete(entry / PARAMS)]
    if not complete:
        raise CheckpointError(f"{path} holds no openpi checkpoint: {_what_is_there(path)}")
    newest = complete[-1]
    for entry in steps[steps.index(newest) + 1 :]:
        _log.warning("%s is left out: its params are not complete", entry)
    _log.info("the newest complete step of %s is %s", path, newest.name)
    return _place(newest, newest / PARAMS)._replace(num_steps_found=len(complete))


def is_complete(params: Path) -> bool:
    """Whether a directory has what Orbax writes last; its content may still be damaged."""
    return (params / "_METADATA").is_file() and (params / "manifest.ocdbt").is_file()


def _place(root: Path, params: Path) -> CheckpointPlace:
    return CheckpointPlace(root, params, _step(root), 1)


def _step(path: Path) -> int | None:
    """Number of a step directory, which openpi names by a plain integer."""
    return int(path.name) if path.name.isascii() and path.name.isdecimal() else None


def _what_is_there(path: Path, *, max_names: int = 8) -> str:
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "it is empty. Check the path."
    listed = ", ".join(names[:max_names]) + (", ..." if len(names) > max_names else "")
    if "model.safetensors" in names:
        return f"it holds {listed}, a lerobot policy. Import it with: recap import-policy"
    if (path / PARAMS).is_dir():
        inside = sorted(entry.name for entry in (path / PARAMS).iterdir())
        return (
            f"its params directory lacks _METADATA or manifest.ocdbt (it holds {inside}). "
            "Copy the whole checkpoint again."
        )
    return (
        f"it holds {listed}. Name a directory with _METADATA in it (<step>/params), its parent, "
        "or an experiment with steps such as 29999/."
    )
