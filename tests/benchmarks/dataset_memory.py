"""Child process of a benchmark: do one thing to a whole dataset, print the peak memory in MB."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recap_core.config.dataset import ConvertConfig, NormStatsConfig
from recap_core.config.validation import ValidateConfig
from recap_core.data.convert import convert_recording
from recap_core.data.export_v21 import export_v21
from recap_core.data.layout import read_meta
from recap_core.data.merge import merge_datasets
from recap_core.data.norm_stats import compute_norm_stats
from recap_core.data.relabel import write_adv_ind
from recap_core.data.validate import validate_dataset


def convert(source: Path, output: Path) -> None:
    """Raw episodes, every video encoded again."""
    config = ConvertConfig(target_fps=12)
    convert_recording(
        source / "recording", output, config, max_workers=2, round_index=1, source="bench"
    )


def relabel(source: Path, output: Path) -> None:
    """A label for every frame."""
    num_frames = read_meta(source / "dataset").num_frames
    write_adv_ind(source / "dataset", output, np.ones(num_frames, dtype=np.int8))


OPERATIONS: dict[str, Callable[[Path, Path], object]] = {
    "convert": convert,
    "merge": lambda source, output: merge_datasets([source / "dataset"], output),
    "relabel": relabel,
    "norm_stats": lambda source, _: compute_norm_stats(source / "dataset", NormStatsConfig()),
    "export": lambda source, output: export_v21(source / "dataset", output),
    "validate": lambda source, _: validate_dataset(source / "dataset", ValidateConfig()),
}

if __name__ == "__main__":
    OPERATIONS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    # Not getrusage: its maximum starts at the parent's.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(f"{int(peak[1]) / 1e3:.1f}\n" if peak else "nan\n")
