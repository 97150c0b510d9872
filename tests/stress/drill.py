"""A policy server under attack while a robot goes on being served."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recap_core.serving.client import WebsocketPolicy
from recap_core.serving.host import ServedPolicy
from tests.core.serving import tiny
from tests.stage_processes import until
from tests.stress.attacks import Fuzzer, num_open_files, resident_mb

MAX_MESSAGE_MB = 4
PART, ANSWERS_PER_PART = 60, 6
"""Before so many attacks are followed by more, the robot must have had so many answers."""


class Drill(NamedTuple):
    """What a drill saw."""

    outcomes: Counter[str]
    num_answers: int
    """Requests of the well-behaved client that were answered rightly."""
    num_wrong: int
    worst_answer_s: float
    warm_mb: float
    """Memory of the server after the first fifth of the attacks."""
    final_mb: float
    num_files: tuple[int, int]
    """Open files of the server before and after."""
    internal_errors: int
    exit_status: int

    def told(self) -> str:
        """Counts and megabytes, for people."""
        lines = [f"{sum(self.outcomes.values())} attacks"]
        lines += [f"  {count:6d}  {outcome}" for outcome, count in sorted(self.outcomes.items())]
        lines += [
            f"well-behaved client: {self.num_answers} answers, {self.num_wrong} wrong",
            f"its slowest answer: {1e3 * self.worst_answer_s:.0f} ms",
            f"server memory: {self.warm_mb:.1f} MB warm, {self.final_mb:.1f} MB at the end",
            f"open files: {self.num_files[0]} before, {self.num_files[1]} after",
        ]
        return "\n".join(lines) + "\n"


class Robot(threading.Thread):
    """A client that asks all the time and checks every answer."""

    def __init__(self, url: str, policy: ServedPolicy) -> None:
        super().__init__(name="robot", daemon=True)
        self._client = WebsocketPolicy(url, request_timeout_s=600)
        self._expected = [policy.answer(tiny.observation(i))["actions"] for i in range(4)]
        self._is_over = threading.Event()
        self.num_answers = self.num_wrong = 0
        self.worst_s = 0.0
        self.error: Exception | None = None

    def run(self) -> None:
        """Ask until told to stop."""
        connection = self._client._connection
        try:
            while not self._is_over.wait(0.005):
                number = self.num_answers % 4
                began = time.perf_counter()
                actions = self._client.infer(tiny.observation(number))["actions"]
                self.worst_s = max(self.worst_s, time.perf_counter() - began)
                self.num_answers += 1
                self.num_wrong += not np.array_equal(actions, self._expected[number])
                assert self._client._connection is connection, "the connection was lost"
        except Exception as error:  # noqa: BLE001 - told by the drill
            self.error = error

    def is_served(self, num_answers: int) -> bool:
        """Whether it has had so many answers, or none will come any more."""
        return self.num_answers >= num_answers or not self.is_alive()

    def stop(self) -> None:
        """End, and raise what went wrong."""
        self._is_over.set()
        self.join()
        self._client.close()
        if self.error is not None:
            raise self.error


def run_drill(root: Path, *, num_attacks: int, num_threads: int = 4) -> Drill:
    """Attack ``recap serve`` in a process of its own.

    Args:
        root: Empty directory.
        num_attacks: Connections that misbehave.
        num_threads: Attackers at once.
    """
    directory = tiny.write_checkpoint(root / "policy")
    policy = tiny.served(directory)
    command = [sys.executable, "-m", "deployments.cli.main", "serve", str(directory), "--json"]
    limits = ["--port=0", f"--max-message-mb={MAX_MESSAGE_MB}", "--max-connections=64"]
    with (root / "log").open("w") as log:
        server = subprocess.Popen(  # noqa: S603 - our own command
            [*command, *limits], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        port = int(url.rsplit(":", 1)[1])
        robot = Robot(url, policy)
        files_before = num_open_files(server.pid)
        robot.start()
        fuzzers = [Fuzzer(port, max_message_bytes=MAX_MESSAGE_MB << 20) for _ in range(num_threads)]
        outcomes: Counter[str] = Counter()
        num_warm = num_attacks // 5
        outcomes.update(_attack(fuzzers, range(num_warm), robot))
        warm_mb = resident_mb(server.pid)
        outcomes.update(_attack(fuzzers, range(num_warm, num_attacks), robot))
        final_mb = resident_mb(server.pid)
        for fuzzer in fuzzers:
            fuzzer.close()
        internal_errors = _settled(port)["internal_errors_total"]
        files_after = _files_left(server.pid, files_before)
        robot.stop()
    finally:
        server.terminate()
        server.communicate(timeout=600)
    return Drill(
        outcomes,
        robot.num_answers,
        robot.num_wrong,
        robot.worst_s,
        warm_mb,
        final_mb,
        (files_before, files_after),
        internal_errors,
        server.returncode,
    )


def _attack(fuzzers: list[Fuzzer], seeds: range, robot: Robot) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for first in range(0, len(seeds), PART):
        num_answers = robot.num_answers + ANSWERS_PER_PART
        outcomes += _attack_at_once(fuzzers, seeds[first : first + PART])
        until(lambda enough=num_answers: robot.is_served(enough))
    return outcomes


def _attack_at_once(fuzzers: list[Fuzzer], seeds: range) -> Counter[str]:
    outcomes: list[Counter[str]] = [Counter() for _ in fuzzers]

    def work(index: int) -> None:
        for seed in seeds[index :: len(fuzzers)]:
            outcomes[index][fuzzers[index].attack(seed)] += 1

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(fuzzers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(outcomes, Counter())


def _files_left(pid: int, before: int) -> int:
    """Open files of the server, once it has closed those of the attackers, or has had a minute."""
    deadline = time.monotonic() + 60
    while (left := num_open_files(pid)) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _settled(port: int) -> dict[str, int]:
    """The server's statistics, once it has noticed that the attackers left."""
    import http.client

    stats: dict[str, int] = {}
    for _ in range(600):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/stats")
        stats = json.loads(connection.getresponse().read())
        connection.close()
        if stats["connections"] <= 1:
            break
        time.sleep(0.1)
    return stats
