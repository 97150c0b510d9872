"""``recap up`` with a small project that learns from recordings, and Prefect's API of it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from deployments.server import PrefectServer
from recap_core.config.flows import ProjectConfig

PATIENCE_S = 240
"""Longest wait for what is certain to come, on however slow a machine."""
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class ServedNights:
    """A running ``recap up``.

    Args:
        home: Its ``RECAP_HOME``.
        config: The project that it serves.
        more: Further options.
    """

    def __init__(self, home: Path, config: ProjectConfig, *more: str) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        settings = home / "recap.yaml"
        settings.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        command = [sys.executable, "-m", "deployments.cli.main", "up", "--config", str(settings)]
        ports = ["--port=0", "--pages-port=0"]
        self._command = [*command, *ports, "--no-cameras", "--json", *more]
        self._said = home / "up.json"
        self.start()

    def start(self) -> None:
        """Start it, or start it again after :meth:`kill`, and wait until it answers."""
        with self._said.open("w") as said, (self.home / "up.log").open("a") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                self._command,
                stdout=said,
                stderr=log,
                env={**os.environ, "RECAP_HOME": str(self.home)},
                start_new_session=True,
            )
        self.url = json.loads(until(self._answer))["url"]

    def _answer(self) -> str | None:
        assert self.process.poll() is None, (self.home / "up.log").read_text()
        text = self._said.read_text()
        return text if text.endswith("\n") else None

    def api(self, path: str, body: object = None, method: str | None = None) -> Any:  # noqa: ANN401
        """Call Prefect's API."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.url}/api{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
            method=method,
        )
        for _ in range(120):
            try:
                with urllib.request.urlopen(request) as response:  # noqa: S310
                    text = response.read()
                break
            except urllib.error.HTTPError as error:
                if error.code != 503:  # SQLite was busy: Prefect's own clients try again, too
                    raise
                time.sleep(0.5)
        else:
            raise AssertionError(f"{path}: the server stays busy")
        return json.loads(text) if text else None

    def deployment(self, flow: str = "nightly") -> Mapping[str, Any]:
        """A flow's deployment, once it is registered."""

        def find() -> Mapping[str, Any] | None:
            found = self.api("/deployments/filter", {"flows": {"name": {"any_": [flow]}}})
            return found[0] if found else None

        return until(find)

    def every(self, seconds: int) -> None:
        """Let nights start in short intervals: no cron expression is shorter than a minute."""
        schedule = {"interval": seconds, "anchor_date": "2026-01-01T00:00:00Z", "timezone": "UTC"}
        path = f"/deployments/{self.deployment()['id']}/schedules"
        self.api(path, [{"schedule": schedule, "active": True}])

    def never(self) -> None:
        """Remove the schedule, and what it has planned."""
        deployment = self.deployment()
        for schedule in deployment["schedules"]:
            path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
            self.api(path, method="DELETE")

    def run(self, flow: str = "nightly", **parameters: object) -> str:
        """Press *Run* on a deployment; the run's id."""
        path = f"/deployments/{self.deployment(flow)['id']}/create_flow_run"
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.api(path, body)["id"])

    def ended(self, run: str) -> Mapping[str, Any] | None:
        """The state of a run if it is a final one."""
        state = self.state(run)
        return state if state["type"] in FINAL else None

    def nights(self, *states: str) -> list[Mapping[str, Any]]:
        """Runs of the nightly deployment in these states, or in any, oldest first."""
        body: dict[str, Any] = {
            "deployments": {"id": {"any_": [self.deployment()["id"]]}},
            "sort": "EXPECTED_START_TIME_ASC",
        }
        if states:
            body["flow_runs"] = {"state": {"name": {"any_": list(states)}}}
        return self.api("/flow_runs/filter", body)

    def state(self, run: str) -> Mapping[str, Any]:
        """The state of a run."""
        return self.api(f"/flow_runs/{run}")["state"]

    def report(self) -> str:
        """The newest morning report."""
        config = self.deployment()["name"]
        return str(self.api(f"/artifacts/nights-{config}/latest")["data"])

    def is_idle(self) -> bool:
        """Whether no night runs or is about to."""
        return all(night["state_type"] in (*FINAL, "SCHEDULED") for night in self.nights())

    def is_answering(self) -> bool:
        """Whether the server answers."""
        return PrefectServer(self.url, is_shared=True).is_healthy()

    def server_pid(self) -> int:
        """Process of the Prefect server."""
        return int(json.loads((self.home / "server.json").read_text())["pid"])

    def stop(self) -> None:
        """Ctrl-C, and wait until everything is gone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """``kill -9``, its children included; the server notices that it has no user any more."""
        server = self.server_pid()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        until(lambda: not Path(f"/proc/{server}").exists() or None)


def until[T](find: Callable[[], T | None], seconds: float = PATIENCE_S) -> T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + seconds
    while (found := find()) is None or found == []:
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.5)
    return found


def from_recordings(project: ProjectConfig, inbox: Path) -> ProjectConfig:
    """The project with an inbox instead of a simulator, and an operator who judges."""
    inbox.mkdir(parents=True, exist_ok=True)
    changes = {"episodes": "recordings", "inbox": str(inbox), "judge": "operator"}
    iteration = project.iteration.model_copy(update=changes)
    return project.model_copy(update={"iteration": iteration})
