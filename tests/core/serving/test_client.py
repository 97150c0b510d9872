"""The robot's side against real servers."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.errors import DataError, ServerError
from recap_core.rollout.protocols import PolicyClient
from recap_core.serving.client import RemotePolicy, WebsocketPolicy
from recap_core.serving.host import PolicyHost, ServedPolicy
from tests.core.serving import tiny
from tests.core.serving.tiny import PATIENCE_S
from tests.ports import free_port

ROOT = Path(__file__).parents[3]


def test_a_client_gets_the_policys_actions(server: tiny.Running, tiny_policy: ServedPolicy) -> None:
    """By host and port, and by URL."""
    expected = tiny_policy.answer(tiny.observation())["actions"]

    for client in (WebsocketPolicy("127.0.0.1", server.port), WebsocketPolicy(server.url)):
        with client:
            client.reset()
            assert client.get_server_metadata()["policy"]["name"] == "tiny"
            np.testing.assert_array_equal(client.infer(tiny.observation())["actions"], expected)


def test_a_refused_request_is_an_error_and_the_next_one_is_not(server: tiny.Running) -> None:
    """The server's line is in the error; the client connects again by itself."""
    with WebsocketPolicy(server.url) as client:
        with pytest.raises(ServerError, match=r"refused the request: DataError: .*no camera"):
            client.infer({"prompt": "go"})

        assert client.infer(tiny.observation())["actions"].shape == (8, 14)


def test_a_client_waits_for_a_server_that_is_not_up_yet(tiny_policy: ServedPolicy) -> None:
    """The packaged client of openpi would fail at once."""
    port, names = free_port(), list[str]()

    def connect() -> None:
        with WebsocketPolicy("127.0.0.1", port, connect_timeout_s=PATIENCE_S) as client:
            names.append(client.get_server_metadata()["policy"]["name"])

    thread = threading.Thread(target=connect)
    thread.start()
    time.sleep(0.3)
    assert names == []
    with tiny.running(PolicyHost(tiny_policy), port=port):
        thread.join(PATIENCE_S)

    assert names == ["tiny"]


def test_a_client_survives_a_restart(tiny_policy: ServedPolicy) -> None:
    """The request that found the server gone is sent again to the new one."""
    port = free_port()
    with tiny.running(PolicyHost(tiny_policy), port=port):
        client = WebsocketPolicy("127.0.0.1", port, connect_timeout_s=PATIENCE_S)
        before = client.infer(tiny.observation())["actions"]
    with tiny.running(PolicyHost(tiny_policy), port=port):
        after = client.infer(tiny.observation())["actions"]
        client.close()

    np.testing.assert_array_equal(before, after)


def test_a_server_that_stays_away_is_an_error(tiny_policy: ServedPolicy) -> None:
    """It names the address and what to do."""
    with tiny.running(PolicyHost(tiny_policy), port=free_port()) as gone:
        client = WebsocketPolicy(gone.url)
        client._connect_timeout_s = 0.3

    with pytest.raises(ServerError, match=f"no policy server answers at {gone.url}.*recap serve"):
        client.infer(tiny.observation())
    with pytest.raises(ServerError, match="no policy server answers"):
        WebsocketPolicy(gone.url, connect_timeout_s=0)


def test_a_wrong_key_is_an_error_at_once(tiny_policy: ServedPolicy) -> None:
    """Waiting would not help."""
    with tiny.running(PolicyHost(tiny_policy), api_key="right") as server:
        with pytest.raises(ServerError, match=r"HTTP 401.*API key"):
            WebsocketPolicy(server.url, api_key="wrong", connect_timeout_s=PATIENCE_S)
        with WebsocketPolicy(server.url, api_key="right") as client:
            assert client.infer(tiny.observation())["actions"].shape == (8, 14)


def test_a_message_that_is_too_large_is_not_sent_again(tiny_policy: ServedPolicy) -> None:
    """The error says how large it is, and what to change."""
    with (
        tiny.running(PolicyHost(tiny_policy), max_message_mb=0.01) as server,
        WebsocketPolicy(server.url) as client,
        pytest.raises(ServerError, match=r"does not accept a message of 0\.1 MiB.*max-message-mb"),
    ):
        client.infer(tiny.observation(note=b"x" * 100_000))


def test_a_slow_answer_is_an_error_and_is_not_taken_for_the_next(
    tiny_policy: ServedPolicy,
) -> None:
    """The connection is given up with the answer that may still come over it."""
    host = tiny.GatedHost(tiny_policy)
    with tiny.running(host) as running:
        client = WebsocketPolicy(running.url, request_timeout_s=0.01)
        with pytest.raises(ServerError, match="did not answer within"):
            client.infer(tiny.observation(1))
        client._request_timeout_s = PATIENCE_S
        host.gate.set()
        second = client.infer(tiny.observation(2))["actions"]
        client.close()

    np.testing.assert_array_equal(second, tiny_policy.answer(tiny.observation(2))["actions"])


def test_what_cannot_be_packed_is_an_error(server: tiny.Running) -> None:
    """Nothing is sent, and the connection stays."""
    with WebsocketPolicy(server.url) as client:
        with pytest.raises(DataError, match="cannot be packed"):
            client.infer({"state": object()})
        assert client.infer(tiny.observation())["actions"].shape == (8, 14)


def test_rollouts_can_use_a_served_policy(server: tiny.Running, tiny_policy: ServedPolicy) -> None:
    """The same float32 chunks as the policy in this process gives; what it ignores is not sent."""
    rng = np.random.default_rng(0)
    cameras = ("head_camera", "left_wrist_camera", "right_wrist_camera")
    observations = [
        {
            "observation.state": rng.uniform(-1, 1, 14).astype(np.float32),
            "prompt": "put the vial in the rack",
            "episode_seed": 3,
            "frame_index": i,
        }
        | {f"observation.images.{c}": rng.integers(0, 256, (28, 28, 3), np.uint8) for c in cameras}
        for i in range(3)
    ]
    with WebsocketPolicy(server.url) as client:
        remote = RemotePolicy(client)
        remote.reset()
        chunks = remote.infer([o | {"observation.images.roof": object()} for o in observations])

    assert isinstance(remote, PolicyClient)
    assert chunks[0].dtype == np.float32
    for chunk, expected in zip(chunks, tiny_policy.policy.infer(observations), strict=True):
        np.testing.assert_array_equal(chunk, expected)


def test_the_documented_loop_runs(server: tiny.Running) -> None:
    """As docs/serving.md has it, with another address, until the policy drives."""
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    sent: list[Any] = []
    cameras = ("head_camera", "left_wrist_camera", "right_wrist_camera")
    names: dict[str, Any] = {
        "running": lambda: len(sent) < 20,
        "observe": lambda: {
            "observation.state": np.zeros(14, np.float32),
            **{f"observation.images.{c}": np.zeros((48, 64, 3), np.uint8) for c in cameras},
        },
        "hold_still": time.sleep,
        "send": lambda left, right: sent.append((left, right)),
    }

    code = code.replace('host="10.0.0.5", port=8111', f'host="127.0.0.1", port={server.port}')
    exec(code, names)  # noqa: S102

    assert {(left.shape, right.shape) for left, right in sent} == {((7,), (7,))}
    assert all(0 <= left[6] <= 2.4 for left, _ in sent)


def test_the_robot_side_loads_no_accelerator_stack() -> None:
    """A robot's computer needs neither JAX nor torch, nor the data layer."""
    code = (
        "import sys, json\n"
        "import recap_core.serving.client, recap_core.serving.action_chunks\n"
        "import recap_core.serving.live_policy\n"
        "print(json.dumps([m for m in sys.modules if '.' not in m]))"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    heavy = {"jax", "flax", "torch", "lerobot", "pyarrow", "av", "prefect", "orbax"}
    assert not heavy & set(json.loads(done.stdout))
