"""``recap collect`` in simulation, with keys that a real X server delivers.

The operator presses, waits for the line that says so, and presses on; afterwards every file has to
tell the same story.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from recap_core.collection.recorder import IN_PROGRESS, METADATA
from tests.stage_processes import until

pytestmark = [
    pytest.mark.display,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        shutil.which("Xvfb") is None or shutil.which("xdotool") is None,
        reason="needs Xvfb and xdotool (Debian: xvfb xdotool)",
    ),
]

BEGINS = r"episode \d+ begins"
RESUMED, PAUSED = "paused -> autonomous", "autonomous -> paused"
REFUSED = ("r", "refused reset: no emergency stop")
"""Between two presses of one key: once it is answered, the first one's release has been heard,
without which the second one would be a repetition of a held key. Before an episode's
end, it is told by another tick than the phase before: so there are the two frames that it takes."""
HELPS, HELPED = "paused -> correcting", "correcting -> paused"
SUCCESS, FAILURE, DISCARDED = "saved .*: success", "saved .*: failure", "discarded"

SCRIPT: tuple[tuple[tuple[str, str], ...], ...] = (
    (("space", BEGINS), ("p", RESUMED), REFUSED, ("s", SUCCESS)),
    (
        ("space", BEGINS), ("p", RESUMED), REFUSED, ("p", PAUSED), ("c", HELPS), REFUSED,
        ("c", HELPED), ("p", RESUMED), ("s", SUCCESS),
    ),
    (("space", BEGINS), ("Left", RESUMED), REFUSED, ("space", FAILURE)),
    (("Return", BEGINS), ("d", DISCARDED)),
    (
        ("space", BEGINS), ("p", RESUMED), REFUSED, ("p", PAUSED), ("Right", HELPS),
        ("s", SUCCESS),
    ),
    (
        ("space", BEGINS), ("c", HELPS), REFUSED, ("c", HELPED), REFUSED, ("c", HELPS), REFUSED,
        ("c", HELPED), ("Return", FAILURE),
    ),
    (
        ("s", "refused success: no episode"), ("d", "refused discard: no episode"),
        ("space", BEGINS), ("p", RESUMED), ("c", "refused correction: .*pause it first"),
        ("s", SUCCESS),
    ),
    (("space", BEGINS), ("p", RESUMED), ("d", DISCARDED)),
    (("space", BEGINS), ("hold p", RESUMED), REFUSED, ("s", SUCCESS)),
    (
        ("space", BEGINS), ("p", RESUMED), ("e", "EMERGENCY STOP"),
        ("p", "refused pause_resume: an emergency stop"), ("r", "stop is over"), ("p", RESUMED),
        ("s", SUCCESS),
    ),
    (("hold space", BEGINS), ("p", RESUMED), REFUSED, ("space", FAILURE)),
    (("space", BEGINS), ("p", RESUMED), REFUSED, ("Escape", FAILURE)),
)  # fmt: skip
"""Per episode: what is pressed, and the line that answers it."""

AUTONOMOUS, WAITS, CORRECTS = "autonomous", "paused", "correcting"


class Told(NamedTuple):
    """What the files say of an episode."""

    outcome: str
    phases: list[str]
    num_corrections: int


SAVED = [
    Told("SUCCESS", [WAITS, AUTONOMOUS], 0),
    Told("SUCCESS", [WAITS, AUTONOMOUS, WAITS, CORRECTS, WAITS, AUTONOMOUS], 1),
    Told("FAILURE", [WAITS, AUTONOMOUS], 0),
    Told("SUCCESS", [WAITS, AUTONOMOUS, WAITS, CORRECTS], 1),
    Told("FAILURE", [WAITS, CORRECTS, WAITS, CORRECTS, WAITS], 2),
    Told("SUCCESS", [WAITS, AUTONOMOUS], 0),
    Told("SUCCESS", [WAITS, AUTONOMOUS], 0),
    Told("SUCCESS", [WAITS, AUTONOMOUS, WAITS, AUTONOMOUS], 0),
    Told("FAILURE", [WAITS, AUTONOMOUS], 0),
    Told("FAILURE", [WAITS, AUTONOMOUS], 0),
]
"""What the script leaves behind; two episodes were discarded."""


@pytest.fixture(scope="module")
def display() -> Generator[str]:
    """An X server of our own."""
    reads, writes = os.pipe()
    command = ["Xvfb", "-displayfd", str(writes), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    with subprocess.Popen(  # noqa: S603 - our own words
        command,
        pass_fds=[writes],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(writes)
        with os.fdopen(reads) as told:
            number = told.readline().strip()
        try:
            yield f":{number}"
        finally:
            server.terminate()


class Operator:
    """Presses keys, and reads what the session says."""

    def __init__(self, display: str, said: Path) -> None:
        self._environment = {**os.environ, "DISPLAY": display}
        self._said = said
        self._num_read = 0

    def press(self, key: str) -> None:
        """Press and release; ``hold x`` keeps it down while the X server repeats it.

        Some time after the last answer: what is pressed within 30 ms of its release is held.
        """
        time.sleep(0.1)
        if not key.startswith("hold "):
            self._xdotool("key", key)
            return
        self._xdotool("keydown", key.removeprefix("hold "))
        time.sleep(1.5)
        self._xdotool("keyup", key.removeprefix("hold "))

    def hears(self, answer: str) -> None:
        """Wait for a line that has not been heard yet."""

        def look() -> bool:
            lines = self.lines()
            for number, line in enumerate(lines[self._num_read :], self._num_read + 1):
                if re.search(answer, line):
                    self._num_read = number
                    return True
            return False

        try:
            until(look)
        except AssertionError:
            raise AssertionError(f"{answer!r} is not in\n" + "\n".join(self.lines())) from None

    def lines(self) -> list[str]:
        """All that was said."""
        return self._said.read_text().splitlines()

    def _xdotool(self, *arguments: str) -> None:
        command = ["xdotool", *arguments]
        subprocess.run(command, env=self._environment, check=True)  # noqa: S603 - our own words


@pytest.fixture(scope="module")
def session(display: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The directory that the script has left, and all lines."""
    place = tmp_path_factory.mktemp("collect")
    said = place / "said.txt"
    command = [
        sys.executable, "-m", "deployments.cli.main", "collect", "--robot", "sim", "--no-screen",
        "--out", str(place / "recordings"), "--goal", "0",
        "--set", "inputs.keyboard.mode=display", "--set", "robot.robot.image_px=32",
        "--set", "recording.disk_reserve_bytes=0", "--set", "recording.finish_timeout_s=600",
        # However long a machine stands still, the robot is paused by the operator alone.
        "--set", "safety.watchdog_s=600", "--set", "safety.max_observation_age_s=600",
        "--set", "safety.robot_timeout_s=600", "--set", "session.episode_limit_s=6000",
    ]  # fmt: skip
    environment = {**os.environ, "DISPLAY": display, "RECAP_HOME": str(place / "home")}
    with (
        said.open("w") as sink,
        subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=environment
        ) as collecting,
    ):
        operator = Operator(display, said)
        try:
            operator.hears("is ready, paused")
            for episode in SCRIPT:
                for key, answer in episode:
                    operator.press(key)
                    operator.hears(answer)
            assert collecting.wait(timeout=600) == 0, "\n".join(operator.lines())
        finally:
            if collecting.poll() is None:
                collecting.send_signal(signal.SIGKILL)
    (directory,) = (place / "recordings").iterdir()
    return directory, operator.lines()


def test_every_file_says_what_was_pressed(session: tuple[Path, list[str]]) -> None:
    """Outcomes, phases and corrections, episode by episode."""
    directory, _ = session
    episodes = sorted(directory.glob("episode_*"))

    found = []
    for episode in episodes:
        phase = np.load(episode / "phase.npy")
        index = np.load(episode / "correction_index.npy")
        metadata = json.loads((episode / METADATA).read_text())
        (marker,) = [name for name in ("SUCCESS", "FAILURE") if (episode / name).exists()]
        assert not (episode / IN_PROGRESS).exists()
        assert metadata["num_steps"] == len(phase) == len(np.load(episode / "timestamps.npy"))
        assert metadata["intervention_count"] == index[-1]
        interventions = np.load(episode / "interventions.npy")
        assert (interventions == (phase == CORRECTS)).all()
        found.append(Told(marker, [str(name) for name, _ in groupby(phase)], int(index[-1])))
    assert found == SAVED


def test_the_summary_counts_the_same(session: tuple[Path, list[str]]) -> None:
    """Two were discarded; nothing but the kept ones is there."""
    directory, lines = session
    summary = json.loads((directory / "session_summary.json").read_text())

    assert summary["episodes"] == len(SAVED) == 10
    assert summary["successful"] == sum(told.outcome == "SUCCESS" for told in SAVED)
    assert summary["discarded"] == 2
    counts = [episode["intervention_count"] for episode in summary["per_episode"]]
    assert counts == [told.num_corrections for told in SAVED]
    assert "What to do next" in lines


def test_a_held_key_is_one_press(session: tuple[Path, list[str]]) -> None:
    """The repetitions of a held key are neither obeyed nor refused.

    Each line that a key has caused is there as often as the script has pressed it.
    """
    _, lines = session
    answers = [answer for episode in SCRIPT for _, answer in episode]
    text = "\n".join(lines)

    for answer in (BEGINS, RESUMED, HELPS, DISCARDED):
        expected = answers.count(answer)
        assert len(re.findall(rf"^\S+ {answer}$", text, flags=re.MULTILINE)) == expected, answer
    assert len(re.findall("refused", text)) == sum("refused" in answer for answer in answers)
