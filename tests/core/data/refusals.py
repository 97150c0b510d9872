"""Malformed inputs: how one is spoilt, who must refuse it, and what a refusal is."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from recap_core.data.frames import read_frames
from recap_core.data.merge import merge_datasets
from recap_core.data.relabel import write_adv_ind
from recap_core.data.video import iter_camera_blocks
from recap_core.errors import RecapError
from tests.core.data.damages import CAMERA, Damage

NUM_FRAMES = 11
"""Of the fixture ``small_dataset``."""


def merge(root: Path, output: Path, good: Path) -> None:
    """Merge it with a sound one."""
    merge_datasets([root, good], output)


def relabel(root: Path, output: Path, good: Path) -> None:
    """Label all its frames negative."""
    del good
    write_adv_ind(root, output, np.ones(NUM_FRAMES, dtype=np.int8))


def read(root: Path, output: Path, good: Path) -> None:
    """Read every column."""
    del output, good
    table = read_frames(root)
    for name, described in table.meta.features.items():
        if described["dtype"] != "video":
            table.column(name)


def look(root: Path, output: Path, good: Path) -> None:
    """Decode every picture."""
    del output, good
    for _ in iter_camera_blocks(root, [CAMERA]):
        pass


ROWS = (merge, relabel, read)
ALL = (*ROWS, look)


class Case(NamedTuple):
    """A damage, what its message must name, and who must refuse it."""

    name: str
    damage: Damage
    names: str
    refused_by: tuple[Callable[[Path, Path, Path], None], ...] = ALL


def tree(root: Path) -> dict[str, str]:
    """Every path with its content; of sparse giants the size."""
    content = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            content[str(path)] = f"link to {path.readlink()}"
        elif path.is_file() and path.stat().st_size < 1 << 20:
            content[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content[str(path)] = f"{path.is_dir()} {path.stat().st_size}"
    return content


def refused(action: Callable[[], object], *, names: str, output: Path) -> None:
    """One error of ours that names the thing; nothing is written."""
    with pytest.raises(RecapError, match=names) as caught:
        action()
    assert type(caught.value).__module__ == "recap_core.errors"
    assert len(str(caught.value)) < 1000
    assert not output.exists()
