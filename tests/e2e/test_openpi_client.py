"""The unmodified ``openpi-client`` of the package index against ``recap serve``.

It needs numpy below 2, so it lives in an environment of its own, kept between runs in the
temporary directory. Where it cannot be installed, the test is skipped, but never in CI.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.serving.host import ServedPolicy
from recap_core.transforms.images import resize_with_pad
from tests.core.serving import tiny

VERSION = "0.1.2"
SCRIPT = Path(__file__).with_name("openpi_client_session.py")
NUM_OBSERVATIONS = 4

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def openpi_python() -> Path:
    """The interpreter of an environment that has the client."""
    name = f"recap-openpi-client-{VERSION}-{os.getuid()}-{sys.version_info.minor}"
    environment = Path(tempfile.gettempdir()) / name
    python = environment / "bin" / "python"
    if not python.exists():
        draft = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        uv = str(Path(sys.executable).with_name("uv"))
        # The client imports typing_extensions without asking for it.
        packages = [f"openpi-client=={VERSION}", "typing_extensions"]
        for command in (
            [
                uv,
                "venv",
                "--quiet",
                "--relocatable",
                "--python",
                sys.executable,
                str(draft / "env"),
            ],
            [uv, "pip", "install", "--quiet", "--python", str(draft / "env"), *packages],
        ):
            done = subprocess.run(  # noqa: S603 - fixed arguments
                command, check=False, capture_output=True, text=True
            )
            if done.returncode:
                shutil.rmtree(draft)
                reason = f"openpi-client cannot be installed: {done.stderr.strip()[-300:]}"
                if os.environ.get("CI"):
                    pytest.fail(reason)
                pytest.skip(reason)
        if not python.exists():  # what is there belongs to an interpreter that is gone
            shutil.rmtree(environment, ignore_errors=True)
        try:
            (draft / "env").rename(environment)
        except OSError:  # another run has just made it
            assert python.exists()
        shutil.rmtree(draft)
    return python


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    """Of ``recap serve`` with the tiny policy."""
    root = tmp_path_factory.mktemp("openpi")
    tiny.write_checkpoint(root / "tiny")
    (root / "metadata.json").write_text('{"reset_pose": [0, -1.5, 1.5, 0, 0, 0]}')
    command = [sys.executable, "-m", "deployments.cli.main", "serve", str(root / "tiny")]
    options = ["--port=0", "--json", "--metadata", str(root / "metadata.json")]
    with subprocess.Popen(  # noqa: S603 - our own command
        [*command, *options], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield int(json.loads(server.stdout.readline())["url"].rsplit(":", 1)[1])
        finally:
            server.terminate()
            server.communicate(timeout=600)
    assert server.returncode == 0


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> ServedPolicy:
    """The same policy in this process."""
    return tiny.served(tiny.write_checkpoint(tmp_path_factory.mktemp("own") / "tiny"))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """States and camera frames, as the robot's sensors give them."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("seen") / "observations.npz"
    cameras = ("cam_high", "cam_left_wrist", "cam_right_wrist")
    frames: dict[str, Any] = {
        name: rng.integers(0, 256, (NUM_OBSERVATIONS, 48, 64, 3), np.uint8) for name in cameras
    }
    frames["state"] = rng.uniform(-1, 1, (NUM_OBSERVATIONS, tiny.DIM)).astype(np.float32)
    np.savez(path, **frames)
    return path


@pytest.fixture(scope="module")
def session(openpi_python: Path, port: int, policy: ServedPolicy, seen: Path) -> dict[str, Any]:
    """What the client saw."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    command = [str(openpi_python), "-I", str(SCRIPT), str(port), str(seen)]
    slow = tiny.GatedHost(policy)
    with (
        tiny.running(slow) as server,
        subprocess.Popen(  # noqa: S603 - our own script
            [*command, str(server.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=kept,
        ) as client,
    ):
        assert client.stdout is not None
        is_pinged = client.stdout.readline() == "it may answer\n"
        slow.gate.set()
        said, errors = client.communicate(timeout=600)
    assert is_pinged, errors
    assert client.returncode == 0, errors
    return json.loads(said)


@pytest.fixture(scope="module")
def expected(policy: ServedPolicy, seen: Path) -> list[np.ndarray]:
    """The actions of the policy in this process."""
    views = tiny.CONFIG.embodiment.views.values()
    cameras = ("cam_high", "cam_left_wrist", "cam_right_wrist")
    with np.load(seen) as found:
        return [
            policy.policy.infer(
                [
                    {
                        "observation.state": found["state"][i],
                        "prompt": "put the vial in the rack",
                        "episode_seed": 7,
                        "frame_index": i,
                    }
                    | {
                        view: resize_with_pad(found[camera][i][None], 224, 224)[0]
                        for view, camera in zip(views, cameras, strict=True)
                    }
                ]
            )[0]
            for i in range(NUM_OBSERVATIONS)
        ]


def test_the_client_really_is_another_environment(session: dict[str, Any]) -> None:
    """It has numpy 1: the pin that keeps the client out of ours."""
    assert session["numpy"].startswith("1.")


def test_the_handshake_gives_metadata(session: dict[str, Any]) -> None:
    """A map, with whatever the operator adds at its top."""
    assert session["metadata"]["reset_pose"] == [0, -1.5, 1.5, 0, 0, 0]
    assert session["metadata"]["policy"]["action_horizon"] == tiny.HORIZON


def test_actions_are_the_policys(session: dict[str, Any], expected: list[np.ndarray]) -> None:
    """Observations made with the client's own image tools; openpi's keys around the actions."""
    for answer, actions in zip(session["answers"], expected, strict=True):
        assert answer["keys"] == ["actions", "policy_timing", "server_timing"]
        assert answer["dtype"] == "<f8"
        np.testing.assert_array_equal(answer["actions"], actions)
    assert session["answers"][0]["timing"] == ["infer_ms"]
    assert session["answers"][1]["timing"] == ["infer_ms", "prev_total_ms"]


def test_the_clients_broker_plays_chunks(
    session: dict[str, Any], expected: list[np.ndarray]
) -> None:
    """Eight steps of one answer, then the first of the next."""
    np.testing.assert_array_equal(session["steps"], [*expected[0], expected[0][0]])


def test_an_error_frame_is_a_runtime_error(
    session: dict[str, Any], expected: list[np.ndarray]
) -> None:
    """With our line in it; a new client is served."""
    assert session["error"].startswith("Error in inference server:\nDataError: ")
    assert "no camera for base_0_rgb" in session["error"]
    np.testing.assert_array_equal(session["after_error"]["actions"], expected[0])


def test_several_clients_are_served(session: dict[str, Any], expected: list[np.ndarray]) -> None:
    """Four at once, each with its own observation."""
    np.testing.assert_array_equal(session["several"], expected)


def test_a_slow_call_does_not_end_the_connection(
    session: dict[str, Any], expected: list[np.ndarray]
) -> None:
    """While the policy works, the server answers a ping, else the client would give up."""
    assert session["pinged"]
    assert session["answered_before"] == []
    np.testing.assert_array_equal(session["answered"], expected[0])
    np.testing.assert_array_equal(session["slow_again"], expected[1])


def test_a_server_that_is_not_ready_refuses_at_once(session: dict[str, Any]) -> None:
    """As while ``recap serve`` compiles: it listens only when the first call is as fast as any."""
    assert session["refused"] == "ConnectionRefusedError"
