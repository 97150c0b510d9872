"""Episodes that are being recorded: whether the marker's owner is still there.

The marker holds the process id of the recorder and when that process started: in the kernel's
ticks, as our recorder writes it, or in Unix seconds.
"""

import os
import re
from pathlib import Path
from typing import Final, Literal

IN_PROGRESS: Final = "RECORDING_IN_PROGRESS"
"""Marker of an episode that is being written."""
METADATA: Final = "metadata.json"
"""Written last, so an episode that has it is complete."""
START_TOLERANCE_S: Final = 2.0

type EpisodeState = Literal["finished", "recording", "interrupted"]


def episode_state(episode: Path) -> EpisodeState:
    """Whether an episode directory is complete, being written, or was given up by its recorder.

    A marker whose owner is gone does not matter once the metadata is there.
    """
    if (episode / IN_PROGRESS).exists() and owner_may_be_alive(episode / IN_PROGRESS):
        return "recording"
    return "finished" if (episode / METADATA).exists() else "interrupted"


def owner_may_be_alive(marker: Path) -> bool:
    """False only if the process that a marker names is certainly gone from this host."""
    try:
        owner = marker.read_text(errors="replace")
    except OSError:  # just removed, or another user's
        return True
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", owner)]
    if not numbers:
        return True  # a marker that names nobody: leave the episode alone
    process = Path(f"/proc/{int(numbers[0])}/stat")
    try:
        ticks = int(process.read_text().rpartition(")")[2].split()[19])
    except OSError:
        # Without /proc (macOS) nobody can be called dead.
        return not Path("/proc/self/stat").exists()
    if len(numbers) == 1:
        return True
    return numbers[1] == ticks or abs(numbers[1] - _unix_time_s(ticks)) < START_TOLERANCE_S


def _unix_time_s(ticks: int) -> float:
    """When a process started, from kernel ticks since boot, in Unix seconds."""
    boot = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), flags=re.MULTILINE)
    return (int(boot[1]) if boot else 0) + ticks / os.sysconf("SC_CLK_TCK")
