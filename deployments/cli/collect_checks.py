"""Whether a robot cell can be used now: looked at without moving anything."""

import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.cli.collect_keys import key_label
from deployments.cli.collect_log import warnings_go_to
from deployments.cli.collect_stop import terminal_restored
from deployments.cli.doctor_answer import finding
from deployments.cli.quantities import bytes_text

if TYPE_CHECKING:
    from recap_core.config.cell import CellConfig
    from recap_core.config.operator import OperatorConfig
    from recap_core.config.policy_link import PolicyLinkConfig
    from recap_core.config.recording import RecordingConfig
    from recap_core.data.checks.finding import Finding
    from recap_core.rollout.live import InputStatus

INPUT_WAIT_S = 1.0
"""Longest wait for an input that does not work at once."""
LOOK_S = 0.02
PROBED_BYTES = 32_000_000
SLOW_DISK = 20e6
"""Bytes per second; three cameras of 640x480 at 30 Hz need about a tenth of it."""


def check_cell(config: "CellConfig", *, writes: bool) -> "list[Finding]":
    """What is well and what is not, in the order in which a session needs it.

    Args:
        config: The cell.
        writes: Measure how fast the disk is, with a file that is deleted again.
    """
    return [
        *check_robot_of(config),
        *check_speed(config),
        *check_inputs(config.inputs),
        *check_policy(config),
        *check_disk(config.recording, writes=writes),
    ]


def check_robot_of(config: "CellConfig") -> "Generator[Finding]":
    """The robot's own findings: libraries, plugins, ports, cameras, mapping."""
    from recap_core.collection.robots.check import check_robot

    for found in check_robot(config.robot):
        severity = "note" if found.problem is None else "error"
        yield finding(severity, "robot", found.name, found.text, found.problem or "", "")


def check_speed(config: "CellConfig") -> "Generator[Finding]":
    """Whether anything limits how fast a real robot moves: the cell, or its driver."""
    if config.robot.kind != "lerobot" or config.safety.limits_steps:
        return
    if not config.robot.limits_itself:
        yield finding(
            "warning", "robot", "speed",
            "nothing limits how fast it follows the leader or the policy", "",
            "set safety.max_step, or max_relative_target in the settings of a driver that has it",
        )  # fmt: skip


def check_inputs(config: "OperatorConfig") -> "Generator[Finding]":
    """Every input source, started for a moment: device, port, keyboard; what its keys mean.

    A source that does not work is a warning as long as another one can begin episodes.
    """
    from recap_core.rollout.live import EpisodeSignal

    statuses = input_statuses(config)
    for status in statuses:
        if status.problem is None:
            yield finding("note", "input", status.name, keys_text(status), "", "")
        else:
            yield finding("warning", "input", status.name, "it does not work", status.problem, "")
    working = [one.keys for one in statuses if one.problem is None]
    if not any(not keys or EpisodeSignal.START_STOP in keys.values() for keys in working):
        yield finding(
            "error", "input", "episodes", "no input that works can begin one",
            "episodes begin and end by start_stop",
            "start recap in a terminal, or bind start_stop to another input",
        )  # fmt: skip


def input_statuses(config: "OperatorConfig") -> "list[InputStatus]":
    """How every source is doing, after a moment of listening; what comes meanwhile is ignored."""
    from recap_core.collection.inputs.opening import open_inputs

    sources = open_inputs(config)
    with terminal_restored(), warnings_go_to(lambda text: None):  # noqa: ARG005 - it is a status
        try:
            for source in sources:
                source.start(lambda request, name: False)  # noqa: ARG005
            deadline = time.monotonic() + INPUT_WAIT_S
            while any(one.status().problem for one in sources) and time.monotonic() < deadline:
                time.sleep(LOOK_S)
            return [source.status() for source in sources]
        finally:
            for source in sources:
                source.stop()


def keys_text(status: "InputStatus") -> str:
    """``SPACE start_stop, A pause_resume``; a source without keys takes every request by name."""
    if not status.keys:
        return "takes every request"
    by_request: dict[str, list[str]] = {}
    for key, request in status.keys.items():
        by_request.setdefault(request.value, []).append(key_label(key))
    return ", ".join(f"{'/'.join(keys)} {request}" for request, keys in by_request.items())


def check_policy(config: "CellConfig") -> "Generator[Finding]":
    """Whether the policy server answers and takes this client, and how fast it says hello."""
    if config.session.mode == "demonstration":
        yield finding("note", "policy", "none", "a demonstration needs none", "", "")
    elif config.policy is not None:
        yield from _check_server(config.policy)
    elif config.robot.kind in {"sim", "synthetic"}:
        yield finding("note", "policy", "scripted", "a policy without a server", "", "")
    else:
        yield finding(
            "warning", "policy", "none", "only the operator drives", "a rollout has a policy",
            "name a server: --policy ws://HOST:PORT; or record demonstrations: "
            "--set session.mode=demonstration",
        )  # fmt: skip


def _check_server(config: "PolicyLinkConfig") -> "Generator[Finding]":
    from recap_core.serving.client import probe
    from recap_core.serving.live_policy import RemoteLivePolicy
    from recap_core.serving.policy_connection import server_url

    url = server_url(config.host, config.port)
    began = time.perf_counter()
    try:
        probe(url, timeout_s=config.connect_timeout_s)
    except OSError as error:
        yield finding(
            "error", "policy", url, f"no server answers ({error})", "the policy is asked there",
            "start it: recap serve POLICY --host 0.0.0.0 --port 8000; or check the address",
        )  # fmt: skip
        return
    took_ms = 1000 * (time.perf_counter() - began)
    with closing(RemoteLivePolicy(config, api_key=config.read_api_key())) as policy:
        deadline = time.monotonic() + config.connect_timeout_s
        while not (status := policy.status()).is_connected and time.monotonic() < deadline:
            if status.problem is not None:
                break
            time.sleep(LOOK_S)
    if status.is_connected:
        name = status.policy_id or "a policy without a name"
        yield finding("note", "policy", url, f"{name}, answers in {took_ms:.0f} ms", "", "")
        return
    yield finding(
        "error", "policy", url, "it answers, but not this client",
        status.problem or f"not connected after {config.connect_timeout_s:g} s",
        "look at the server's log",
    )  # fmt: skip


def check_disk(config: "RecordingConfig", *, writes: bool) -> "Generator[Finding]":
    """Whether sessions may be written where they shall be, and for how long there is room."""
    base = config.base_dir.expanduser().absolute()
    there = next(path for path in (base, *base.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield finding(
            "error", "disk", str(there), "nothing can be written there",
            "sessions are recorded below it", "name another directory with --out",
        )  # fmt: skip
        return
    free = shutil.disk_usage(there).free
    if free < config.disk_reserve_bytes:
        yield finding(
            "error", "disk", str(base), f"{bytes_text(free)} are free",
            f"no episode begins below {bytes_text(config.disk_reserve_bytes)}",
            "make room, or name another directory with --out",
        )  # fmt: skip
    else:
        yield finding("note", "disk", str(base), f"{bytes_text(free)} are free", "", "")
    if writes and free > 2 * PROBED_BYTES:
        yield _speed(there)


def _speed(directory: Path) -> "Finding":
    chunk = os.urandom(1_000_000)
    with tempfile.TemporaryFile(dir=directory) as file:
        began = time.perf_counter()
        for _ in range(PROBED_BYTES // len(chunk)):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
        rate = PROBED_BYTES / (time.perf_counter() - began)
    text = f"writes {bytes_text(rate)} per second"
    if rate >= SLOW_DISK:
        return finding("note", "disk", str(directory), text, "", "")
    return finding(
        "warning", "disk", str(directory), text, f"less than {bytes_text(SLOW_DISK)} per second",
        "record to a local disk, and copy sessions when they are over",
    )  # fmt: skip


def problems(findings: "Iterable[Finding]") -> "list[str]":
    """Errors, each in one line that says what to do."""
    return [
        f"{one.where}: {one.value}. {'. '.join(part for part in (one.rule, one.fix) if part)}"
        for one in findings
        if one.severity == "error"
    ]
