"""Child process of a benchmark: feed a dataset in one way, print the peak memory in MB."""

import re
import sys
from pathlib import Path

from recap_core.config.training import SamplingConfig
from recap_core.data.batches import frame_sampler
from recap_core.data.frame_cache import FrameCache
from recap_core.data.frames import read_frames
from recap_core.data.image_feed import image_source
from recap_core.data.video import iter_camera_blocks

BATCH = 32


def feed(root: Path, mode: str, image_px: int, cache: Path) -> None:
    """Every frame once."""
    table = read_frames(root)
    cameras = table.meta.cameras
    if mode == "sequential":
        for _ in iter_camera_blocks(table.meta, cameras, image_px=image_px):
            pass
        return
    is_in_blocks = mode == "blocks"
    sampling = SamplingConfig(order="blocks" if is_in_blocks else "random", block_episodes=2)
    order = frame_sampler(table, sampling, batch_size=BATCH, seed=0)
    images = image_source(
        table.meta,
        cameras,
        image_px=image_px,
        cache=FrameCache(cache),
        mode="decode" if is_in_blocks else "cache",
        is_in_blocks=is_in_blocks,
    ).feed(order, slice(None))
    for step in range(table.num_frames // BATCH):
        images(step)


if __name__ == "__main__":
    feed(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    # Not getrusage: its maximum starts at the parent's.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(f"{int(peak[1]) / 1e3:.1f}\n" if peak else "nan\n")
