"""The smallest policy of a two-armed robot with three cameras, and a server around it."""

import asyncio
import http.client
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from recap_core.checkpoints.policy_checkpoint import write_policy
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.policy import (
    GemmaConfig,
    PolicyConfig,
    PolicyModelConfig,
    PromptConfig,
    SiglipConfig,
)
from recap_core.config.serving import ServeSettings
from recap_core.models.policy import Policy
from recap_core.serving.host import PolicyHost, Reply, ServedPolicy
from recap_core.serving.policy import LoadedPolicy
from recap_core.serving.server import PolicyServer
from recap_core.serving.statistics import ServingStatistics
from recap_core.transforms.normalize import FeatureStats, NormStats

DIM, HORIZON, PX = 14, 8, 28
_EXPERT = GemmaConfig(width=8, depth=1, mlp_dim=8, num_heads=1, num_kv_heads=1, head_dim=4)
CONFIG = PolicyConfig(
    model=PolicyModelConfig(
        vlm=_EXPERT,
        expert=_EXPERT,
        siglip=SiglipConfig(width=8, depth=1, mlp_dim=8, num_heads=1),
        vocab_size=400,
        image_px=PX,
        action_dim=16,
        action_horizon=HORIZON,
        max_token_len=24,
        state_input="continuous",
        compute_dtype="float32",
    ),
    embodiment=EmbodimentConfig(
        views={
            "base_0_rgb": "observation.images.head_camera",
            "left_wrist_0_rgb": "observation.images.left_wrist_camera",
            "right_wrist_0_rgb": "observation.images.right_wrist_camera",
        },
        normalization="z_score",
    ),
    prompt=PromptConfig(tokenizer="tiny"),
    num_denoise_steps=2,
)

PATIENCE_S = 300
"""Longest wait for what is certain to come, on however slow a machine."""


def norm_stats(dim: int = DIM) -> NormStats:
    """Mean 0.5 and std 2 everywhere."""
    stats = FeatureStats(mean=np.full(dim, 0.5), std=np.full(dim, 2.0))
    return NormStats({"state": stats, "actions": stats})


def write_checkpoint(
    directory: Path, *, seed: int = 0, config: PolicyConfig = CONFIG, dim: int = DIM
) -> Path:
    """A policy directory with random parameters."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(Policy(config.model).init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape, np.float32), shapes)
    directory.mkdir(parents=True, exist_ok=True)
    write_policy(directory, params, config, norm_stats(dim))
    return directory


def served(directory: Path, *, name: str = "tiny", **load: Any) -> ServedPolicy:  # noqa: ANN401
    """The policy of a directory, compiled."""
    policy = LoadedPolicy.load(directory, batch_size=1, **load)
    policy.warm_up()
    return ServedPolicy(policy, name=name)


def observation(number: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any key
    """What openpi's Aloha client sends, with a seed, so that the answer is always the same."""
    rng = np.random.default_rng(number)
    cameras = ("cam_high", "cam_left_wrist", "cam_right_wrist")
    return {
        "state": rng.uniform(-1, 1, DIM).astype(np.float32),
        "images": {name: rng.integers(0, 256, (3, PX, PX), np.uint8) for name in cameras},
        "prompt": "put the vial in the rack",
        "adv_ind": "positive",
        "episode_seed": 7,
        "frame_index": number,
    } | changes


def when(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never was"
        time.sleep(0.002)


class GatedHost(PolicyHost):
    """A host whose answers wait until its gate is opened: a policy that takes as long as wanted."""

    def __init__(self, policy: ServedPolicy) -> None:
        super().__init__(policy)
        self.gate = threading.Event()

    def respond(self, data: bytes, previous_total_s: float | None) -> Reply:
        """Answer once the gate is open."""
        assert self.gate.wait(PATIENCE_S), "nobody opened the gate"
        return super().respond(data, previous_total_s)


@dataclass
class Running:
    """A server in a thread of this process."""

    url: str
    port: int
    statistics: ServingStatistics
    _loop: asyncio.AbstractEventLoop
    _stop: asyncio.Event
    _thread: threading.Thread

    def begin_to_stop(self) -> None:
        """As SIGTERM does."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def join(self, timeout_s: float) -> bool:
        """Whether the server has ended within that time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Status, content type and body of a plain HTTP request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, response.headers.get("Content-Type", ""), body


@contextmanager
def running(
    host: PolicyHost,
    *,
    statistics: ServingStatistics | None = None,
    api_key: str | None = None,
    **settings: Any,  # noqa: ANN401 - any setting
) -> Generator[Running]:
    """A server on a free port, stopped at the end."""
    statistics = statistics or ServingStatistics()
    quick = {"port": 0, "close_timeout_s": 1, "shutdown_grace_s": PATIENCE_S}
    chosen = ServeSettings.model_validate(quick | settings)
    server = PolicyServer(host, chosen, statistics=statistics, api_key=api_key)
    ready = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        found["loop"], found["stop"] = asyncio.get_running_loop(), asyncio.Event()

        def on_ready(url: str) -> None:
            found["url"] = url
            ready.set()

        await server.run(found["stop"], on_ready=on_ready)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="server")
    thread.start()
    assert ready.wait(PATIENCE_S), "the server did not start"
    port = int(found["url"].rsplit(":", 1)[1])
    it = Running(found["url"], port, statistics, found["loop"], found["stop"], thread)
    try:
        yield it
    finally:
        if thread.is_alive():
            it.begin_to_stop()
        assert it.join(PATIENCE_S), "the server did not stop"
