"""A policy server that is killed in mid-episode: the robot waits, and the session goes on."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np

from recap_core.collection.cell import open_cell
from recap_core.config.cell import CellConfig
from recap_core.rollout.live import EpisodeSignal, LiveStatus
from recap_core.rollout.phase import Phase, PhaseEvent
from tests.ports import free_port
from tests.stage_processes import until

FPS = 20
RAMP_S = 0.5
TARGETS = {"first": 0.2, "second": -0.2}


@contextmanager
def serving(port: int, name: str) -> Generator[subprocess.Popen[bytes]]:
    """A server in a process of its own; gone in the end."""
    command = [sys.executable, "-m", "tests.core.collection.holding_server"]
    with subprocess.Popen([*command, str(port), name, str(TARGETS[name])]) as process:  # noqa: S603 - our own
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def cell(base: Path, port: int) -> CellConfig:
    """A made-up robot with one small camera, and a server that is expected at ``port``.

    Nothing but a lost server pauses it, however long a machine stands still.
    """
    return CellConfig.model_validate(
        {
            "task": "hold still",
            "robot": {
                "kind": "synthetic", "fps": FPS, "height_px": 32, "width_px": 32,
                "cameras": ["head_camera"],
            },
            "policy": {
                "port": port, "max_repeats": 1_000_000, "answer_timeout_s": 600,
                "connect_timeout_s": 600,
            },
            "safety": {"watchdog_s": 600, "max_observation_age_s": 600, "robot_timeout_s": 600},
            "inputs": {"keyboard": None},
            "recording": {"base_dir": base, "disk_reserve_bytes": 0},
            "session": {"resume_ramp_s": RAMP_S},
        }
    )  # fmt: skip


def test_the_robot_waits_for_the_next_server(tmp_path: Path) -> None:
    """PAUSED at once, no resuming before there is a server, then on without a jerk."""
    seen: list[LiveStatus] = []
    port = free_port()
    with open_cell(cell(tmp_path, port)) as session:
        robot = session._loop._parts.robot
        thread = threading.Thread(target=session.run, args=(seen.append,))

        def now() -> LiveStatus:
            until(lambda: seen)
            return seen[-1]

        def ask(request: EpisodeSignal | PhaseEvent) -> bool:
            return session.request(request, "test")

        def drive(name: str) -> None:
            """Resume, until the robot is where that server wants it, and some frames more."""
            until(lambda: now().policy.problem is None)  # type: ignore[union-attr]
            until(lambda: ask(PhaseEvent.PAUSE_RESUME))
            until(lambda: now().phase is Phase.AUTONOMOUS)
            target = TARGETS[name]
            until(lambda: np.allclose(robot.get_observation()["observation.state"], target))
            goal = now().recorder.num_frames + FPS
            until(lambda: now().recorder.num_frames >= goal)

        try:
            with serving(port, "first") as server:
                thread.start()
                until(lambda: now().policy.is_connected)  # type: ignore[union-attr]
                assert ask(EpisodeSignal.START_STOP)
                drive("first")
                server.send_signal(signal.SIGKILL)
                until(lambda: now().phase is Phase.PAUSED)
                assert not ask(PhaseEvent.PAUSE_RESUME)
                until(lambda: any("refused pause_resume" in m.text for m in now().messages))
            with serving(port, "second"):
                drive("second")
                assert ask(EpisodeSignal.SUCCESS)
                until(lambda: now().num_successes == 1)
        finally:
            ask(EpisodeSignal.QUIT)
            thread.join()
        directory = session.directory
    (episode,) = directory.glob("episode_*")
    _check(episode)


def _check(episode: Path) -> None:
    assert (episode / "SUCCESS").exists()
    phase = np.load(episode / "phase.npy")
    driver = np.load(episode / "policy_id.npy")
    sent = np.concatenate(
        [np.load(episode / f"{arm}_actions.npz")["pos"] for arm in ("left", "right")], axis=1
    )
    assert len(phase) == len(driver) == len(sent)
    assert json.loads((episode / "metadata.json").read_text())["num_steps"] == len(phase)
    phases = [str(name) for name, _ in groupby(phase)]
    assert phases[-3:] == ["autonomous", "paused", "autonomous"]
    drivers = [str(name) for name, _ in groupby(name for name in driver if name)]
    assert drivers == ["first", "second"]
    assert np.allclose(sent[driver == "first"][-1], TARGETS["first"])
    assert np.allclose(sent[-1], TARGETS["second"])
    # From one policy's pose to the other's in no less than the ramp.
    largest = abs(TARGETS["second"] - TARGETS["first"]) / (RAMP_S * FPS)
    assert np.abs(np.diff(sent, axis=0)).max() <= largest + 1e-6
