"""Whose recording is still going on."""

import os
import time
from pathlib import Path

import pytest

from recap_core.collection.recorder import process_start_time
from recap_core.data.in_progress import episode_state


@pytest.fixture
def episode(tmp_path: Path) -> Path:
    (tmp_path / "metadata.json").write_text("{}")
    return tmp_path


NO_PID = 2**22 + 1
"""Beyond the largest number that Linux gives to a process."""


def start_s() -> float:
    """When this process started, Unix seconds, to a second or so."""
    # A pause between the two clocks makes one difference too small, but not all of them.
    booted_s = max(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) for _ in range(3))
    return booted_s + int(process_start_time(os.getpid())) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    "owner",
    [
        "{own} {ticks}",
        "{own}",
        "pid: {own}\nstarted: {start_s:.2f}",
        "",
        "1",
    ],
    ids=["our recorder", "pid only", "Unix seconds", "nobody", "another user's process"],
)
def test_an_owner_that_may_live_is_recording(episode: Path, owner: str) -> None:
    """Also where the marker does not say enough to be sure."""
    own = os.getpid()
    said = owner.format(own=own, ticks=process_start_time(own), start_s=start_s())
    (episode / "RECORDING_IN_PROGRESS").write_text(said)

    assert episode_state(episode) == "recording"


@pytest.mark.parametrize("owner", ["{dead} 12345", "{dead}", "{own} 1", "{own} 100000000.5"])
def test_a_marker_of_a_dead_owner_does_not_hide_a_complete_episode(
    episode: Path, owner: str
) -> None:
    """The process is gone, or its number was given to another one since."""
    marker = episode / "RECORDING_IN_PROGRESS"
    marker.write_text(owner.format(dead=NO_PID, own=os.getpid()))

    assert episode_state(episode) == "finished"
    assert marker.exists()

    (episode / "metadata.json").unlink()
    assert episode_state(episode) == "interrupted"


def test_without_a_marker_the_metadata_decides(episode: Path) -> None:
    """It is written last."""
    assert episode_state(episode) == "finished"

    (episode / "metadata.json").unlink()
    assert episode_state(episode) == "interrupted"
