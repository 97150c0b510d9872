"""The only place that imports lerobot, and only when it is called (its import takes seconds)."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset


def open_dataset(
    root: Path,
    *,
    delta_timestamps: dict[str, list[float]] | None = None,
    return_uint8: bool = True,
) -> "LeRobotDataset":
    """Open a local v3.0 dataset with LeRobot's own reader.

    Args:
        root: Directory of the dataset.
        delta_timestamps: Seconds relative to a frame at which a feature is wanted, per feature.
        return_uint8: Images as uint8 instead of float32 in [0, 1].
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset(
        f"local/{root.name}",
        root=root,
        delta_timestamps=delta_timestamps,
        video_backend="pyav",
        return_uint8=return_uint8,
    )
