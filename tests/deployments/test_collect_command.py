"""``recap collect`` as a user meets it: real loop, recorder and inputs, a made-up robot."""

import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from deployments.cli.collect_checks import check_speed
from deployments.cli.collect_command import draws_screen
from deployments.cli.collect_settings import Options, bytes_per_hour, cell_settings
from deployments.cli.main import app
from recap_core.config.cell import CellConfig
from recap_core.errors import ConfigError
from tests.core.serving import tiny
from tests.core.serving.scripted import ScriptedHost
from tests.ports import free_port

SMALL = (
    "robot.cameras=[front]", "robot.height_px=16", "robot.width_px=16", "robot.num_images=2",
    "inputs.keyboard=null", "recording.disk_reserve_bytes=0",
    # However long a machine stands still, the robot is paused by the operator alone.
    "safety.watchdog_s=600", "safety.max_observation_age_s=600", "safety.robot_timeout_s=600",
)  # fmt: skip
WAIT_S = 300.0
"""Longest wait for what is certain to come, on however slow a machine."""

type Step = tuple[str, str]
BEGINS, DRIVES, PAUSES = "episode {} begins", "paused -> autonomous", "autonomous -> paused"
SAVED = "saved .*: success"


def tried(number: int, *more: Step) -> tuple[Step, ...]:
    """An episode that succeeds; each change of the phase takes a frame, and two are needed."""
    begun = (("start_stop", BEGINS.format(number)), *more)
    return (*begun, ("pause_resume", DRIVES), ("pause_resume", PAUSES), ("success", SAVED))


def run(*arguments: str, port: int | None = None, settings: tuple[str, ...] = SMALL) -> Result:
    sets = [f"--set={one}" for one in settings]
    if port is not None:
        sets.append(f"--set=inputs.socket.port={port}")
    return CliRunner().invoke(app, ["collect", "--robot", "synthetic", *arguments, *sets])


class Operator:
    """Presses a key, waits for the line that answers it, and presses the next one.

    After the last one the session is expected to end.

    Args:
        port: Of the session's socket.
        stream: ``stdout`` or ``stderr``, where the command writes its lines.
        steps: What is pressed, and a pattern of the line that follows.
    """

    def __init__(self, port: int, stream: str, *steps: Step) -> None:
        self._port = port
        self._stream = stream
        self._steps = steps
        self._num_heard = 0
        self.answers: list[str] = []
        self.unheard: str | None = None
        self._written: io.BytesIO | None = None
        self._thread = threading.Thread(target=self._press_all, daemon=True)

    def __enter__(self) -> "Operator":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(timeout=WAIT_S)
        assert not self._thread.is_alive()
        assert self.unheard is None

    def _connect(self) -> socket.socket:
        """Once the port is open."""
        pause, deadline = threading.Event(), time.monotonic() + WAIT_S
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_S)
            except OSError:
                assert time.monotonic() < deadline, "nobody listens"
                pause.wait(0.05)

    def _press_all(self) -> None:
        connection = self._connect()
        # The runner's, as long as the command runs: it has opened the port.
        self._written = getattr(sys, self._stream).buffer
        with connection, connection.makefile("rw", encoding="utf-8", newline="\n") as lines:

            def press(request: str) -> None:
                lines.write(f"{request}\n")
                lines.flush()
                self.answers.append(f"{request} {lines.readline().strip()}")

            for request, answer in self._steps[:-1]:
                press(request)
                if not self._hears(answer):
                    self.unheard = answer
                    with suppress(OSError):  # the session may be over
                        press("quit")
                    return
            press(self._steps[-1][0])
            assert lines.read() == ""  # until the session is over

    def _hears(self, answer: str) -> bool:
        """Wait for a line that has not been heard yet."""
        pause, deadline = threading.Event(), time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                lines = self._lines()
            except ValueError:  # closed: the command has ended
                return False
            for number, line in enumerate(lines[self._num_heard :], self._num_heard + 1):
                if re.search(answer, line):
                    self._num_heard = number
                    return True
            pause.wait(0.02)
        return False

    def _lines(self) -> list[str]:
        """All that the command has written so far; the runner keeps it in memory."""
        assert self._written is not None
        return self._written.getvalue().decode().splitlines()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No store, and nothing is written beside the tests."""
    monkeypatch.setenv("RECAP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_a_session_to_its_goal(tmp_path: Path) -> None:
    """Two successes, then it ends by itself: files, JSON and the goal agree."""
    steps = (*tried(1), *tried(2))
    port = free_port()
    with Operator(port, "stderr", *steps):
        done = run("--goal", "2", "--json", "--task", "fold it", "--out", "s", port=port)

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["reason"], told["num_episodes"], told["num_successes"]) == ("goal", 2, 2)
    directory = Path(told["directory"])
    assert directory.parent == tmp_path / "s"
    episodes = sorted(directory.glob("episode_*"))
    assert len(episodes) == 2
    assert all((episode / "SUCCESS").is_file() for episode in episodes)
    metadata = json.loads((episodes[0] / "metadata.json").read_text())
    assert metadata["task_instruction"] == "fold it"
    assert "paused -> autonomous" in done.stderr
    assert told["next"][-1]["command"].endswith("recap@SERVER:/srv/recap/inbox/")


def test_in_an_evaluation_a_correction_is_refused_and_disqualifies() -> None:
    """The trial is saved, does not count towards the goal, and the operator is told."""
    helped = ("correction", "nobody corrects in an evaluation")
    steps = (*tried(1, helped), *tried(2))
    port = free_port()
    with Operator(port, "stdout", *steps) as operator:
        done = run("--evaluate", "--goal", "1", "--no-screen", port=port)

    assert done.exit_code == 0, done.output
    assert "correction refused" in operator.answers
    assert "nobody corrects in an evaluation" in done.stdout
    text = " ".join(done.stdout.split())
    assert "disqualified 1 episode: a correction was asked for" in text
    assert "episodes 2 saved" in text


def test_the_plan_says_what_would_happen(tmp_path: Path) -> None:
    """A pedal that is missing is no reason not to begin, and is told; nothing is left behind."""
    arguments = ("--goal", "30 corrections", "--plan")
    settings = (*SMALL, "inputs.pedal.device=0000:0000")

    done = run(*arguments, port=free_port(), settings=settings)

    text = " ".join(done.stdout.split())
    assert done.exit_code == 0, text
    for words in (
        "synthetic, control loop 30 Hz", "front 16x16", "goal: 30 corrections", "per hour",
        "pedal: it does not work", "socket: takes every request", "It can begin",
        "scripted: a policy without a server", "leader none: nobody can correct",
    ):  # fmt: skip
        assert words in text, words
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_cannot_begin_says_why(tmp_path: Path) -> None:
    """No server, no key that begins an episode, a directory that is a file: code 2, all told."""
    (tmp_path / "file").write_text("")
    server = f"ws://127.0.0.1:{free_port()}"

    done = run("--plan", "--json", "--policy", server, "--out", "file")

    told = json.loads(done.stdout)
    assert done.exit_code == 2
    assert not told["can_start"]
    reasons = "\n".join(told["reasons"])
    assert f"{server}: no server answers" in reasons
    assert "recap serve" in reasons
    assert "no input that works can begin one" in reasons
    assert "nothing can be written there" in reasons
    assert told["cell"]["policy"]["host"] == server


def test_a_policy_server_is_asked_who_it_is() -> None:
    """Its name where it takes this client; why not where it wants a key."""
    settings = (*SMALL, "inputs.socket.port=0", f"policy.connect_timeout_s={WAIT_S}")
    with tiny.running(ScriptedHost("folder")) as server:
        open_to_all = run("--plan", "--policy", f"127.0.0.1:{server.port}", settings=settings)
    with tiny.running(ScriptedHost("folder"), api_key="secret") as server:
        locked = run("--plan", "--policy", f"127.0.0.1:{server.port}", settings=settings)

    assert open_to_all.exit_code == 0, open_to_all.stdout
    assert "folder, answers in" in open_to_all.stdout
    assert locked.exit_code == 2
    assert "it answers, but not this client" in locked.stdout
    assert "API key" in " ".join(locked.stdout.split())


def test_the_doctor_of_a_cell(tmp_path: Path) -> None:
    """The same findings from a file, and how fast the disk is."""
    cell = tmp_path / "cell.yaml"
    cell.write_text(
        yaml.safe_dump(
            {
                "robot": {"kind": "synthetic", "cameras": ["front"]},
                "inputs": {"keyboard": None, "socket": {"port": 0}},
                "recording": {"base_dir": str(tmp_path), "disk_reserve_bytes": 0},
            }
        )
    )

    done = CliRunner().invoke(app, ["doctor", "robot", "--cell", str(cell), "--json"])

    told = json.loads(done.stdout)
    assert (done.exit_code, told["can_collect"]) == (0, True), told
    checks = {finding["check"] for finding in told["findings"]}
    assert checks == {"robot", "input", "policy", "disk"}
    assert any("per second" in finding["value"] for finding in told["findings"])


STEP = {"max_step": 5}
OWN_LIMIT = {"max_relative_target": 10}
ARM = {"kind": "lerobot", "type": "so101_follower"}


@pytest.mark.parametrize(
    ("robot", "safety", "is_limited"),
    [
        (ARM, {}, False),
        (ARM, STEP, True),
        (ARM, {"max_step": [5, None]}, True),
        (ARM, {"max_step": [None, None]}, False),
        ({**ARM, "settings": OWN_LIMIT}, {}, True),
        ({**ARM, "settings": {"left_arm_config": OWN_LIMIT, "right_arm_config": {}}}, {}, False),
        ({**ARM, "settings": dict.fromkeys(("left_arm_config", "right_arm_config"), OWN_LIMIT)},
         {}, True),
        ({"kind": "lerobot", "parts": {"left": {"type": "a", "settings": OWN_LIMIT},
                                       "right": {"type": "a"}}}, {}, False),
        ({"kind": "sim"}, {}, True),
    ],
)  # fmt: skip
def test_a_robot_that_nothing_slows_down_is_told(
    robot: dict[str, Any],
    safety: dict[str, Any],
    is_limited: bool,  # noqa: FBT001
) -> None:
    """By the cell, or by the driver of every arm; a simulator needs no limit."""
    config = CellConfig.model_validate({"robot": robot, "safety": safety})

    found = list(check_speed(config))

    assert (found == []) == is_limited
    for finding in found:
        assert finding.severity == "warning"
        assert "safety.max_step" in finding.fix


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (Options(goal="30 corrections", is_evaluation=True), "30 corrections are never reached"),
        (Options(settings=("safety.max_step=0",)), "must be above 0"),
        (Options(settings=("safety.max_step=[null, -1]",)), "must be above 0"),
    ],
)
def test_settings_that_would_end_badly_are_refused(options: Options, problem: str) -> None:
    """An evaluation without an end; a largest step that would move the robot by itself."""
    with pytest.raises(ConfigError, match=problem):
        cell_settings(options)


def test_options_become_settings() -> None:
    """``--set`` wins over the other options, which win over the file."""
    config = cell_settings(
        Options(
            robot="synthetic",
            task="fold",
            policy="gpu:8111",
            goal="30 trials",
            is_evaluation=True,
            out=Path("x"),
            settings=("session.episode_limit_s=7", "task=press"),
        )
    )

    assert config.task == "press"
    assert config.policy is not None
    assert (config.policy.host, config.policy.port) == ("gpu", 8111)
    session = config.session
    assert (session.num_episodes, session.num_corrections, session.mode) == (30, 0, "evaluation")
    assert session.episode_limit_s == 7
    assert cell_settings(Options(policy="ws://gpu:1", goal="5")).session.num_episodes == 5
    assert cell_settings(Options(policy="none")).policy is None
    with pytest.raises(ConfigError, match="no robot 'simm'; did you mean 'sim'"):
        cell_settings(Options(robot="simm"))
    with pytest.raises(ConfigError, match="write a number of episodes or of corrections"):
        cell_settings(Options(goal="many"))


def test_what_an_hour_takes_on_the_disk() -> None:
    """By hand: 3 cameras of 480x640 at 30 Hz, 0.4 bits per pixel: 5 GB and the joints."""
    config = cell_settings(Options(robot="synthetic"))

    per_hour = 3600 * 30 * (3 * 480 * 640 * 0.4 / 8 + 2000)

    assert bytes_per_hour(config.robot) == pytest.approx(per_hour)
    assert per_hour == pytest.approx(5.2e9, rel=0.01)


def test_a_printed_cell_is_one_to_start_from(tmp_path: Path) -> None:
    """What it prints reads back as the same settings."""
    arguments = ["collect", "--robot", "synthetic", "--task", "fold", "--print-cell"]

    printed = CliRunner().invoke(app, arguments)
    (tmp_path / "cell.yaml").write_text(printed.stdout)

    given = cell_settings(Options(robot="synthetic", task="fold"))
    assert cell_settings(Options(cell=tmp_path / "cell.yaml")) == given


@pytest.mark.parametrize(
    ("is_terminal", "term", "ci", "no_screen", "draws"),
    [
        (True, "xterm-256color", "", False, True),
        (True, "xterm-256color", "", True, False),
        (True, "xterm-256color", "true", False, False),
        (True, "dumb", "", False, False),
        (False, "xterm-256color", "", False, False),
    ],
)
def test_a_screen_is_drawn_only_where_it_can_be(  # noqa: PLR0917 - a table
    is_terminal: bool,  # noqa: FBT001
    term: str,
    ci: str,
    no_screen: bool,  # noqa: FBT001
    draws: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a terminal that is no dumb one, unless somebody wants lines; never in CI."""
    monkeypatch.setenv("CI", ci)
    environment: dict[str, Any] = {"TERM": term}
    console = Console(force_terminal=is_terminal, _environ=environment)

    assert draws_screen(console, no_screen=no_screen) is draws


def test_a_robots_computer_needs_no_prefect_no_jax_and_no_lerobot() -> None:
    """With all of them forbidden, a cell is planned, and help is printed."""
    code = """
import sys

class Forbid:
    NAMES = {"prefect", "jax", "flax", "torch", "lerobot", "pyarrow", "orbax", "fastapi", "optax",
             "scipy"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.NAMES:
            raise ImportError(f"{name} is not part of a robot's computer")

sys.meta_path.insert(0, Forbid())
from typer.testing import CliRunner
from deployments.cli.main import app
done = CliRunner().invoke(app, sys.argv[1:], catch_exceptions=False)
print(done.output)
sys.exit(done.exit_code)
"""
    sets = [f"--set={one}" for one in (*SMALL, "inputs.socket.port=0")]
    arguments = ["collect", "--robot", "synthetic", "--plan", *sets]

    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "It can begin" in done.stdout
