"""What serving adds to the policy: a websocket on this machine beside bare ``sample_actions``."""

import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.config.policy import PolicyConfig
from recap_core.config.sizes import TINY_POLICY
from recap_core.serving.client import WebsocketPolicy
from recap_core.serving.host import PolicyHost, ServedPolicy
from recap_core.serving.policy import LoadedPolicy
from recap_core.serving.protocol import pack, unpack
from tests.core.serving import tiny

NUM_ROUNDS = 300
PX = 224
CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")


def _config(*, cameras: bool) -> PolicyConfig:
    """The tiny preset's model for two arms; with cameras, three of 224 px."""
    views = tiny.CONFIG.model.views if cameras else ()
    model = TINY_POLICY.model_copy(
        update={"action_dim": 16, "state_dim": 16, "max_token_len": 24, "views": views}
    )
    return tiny.CONFIG.model_copy(update={"model": model, "num_denoise_steps": 10})


def _observation(*, cameras: bool) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (3, PX, PX), np.uint8) for name in CAMERAS}
    state = rng.uniform(-1, 1, tiny.DIM).astype(np.float32)
    return {"state": state, "prompt": "transfer cube"} | ({"images": images} if cameras else {})


@pytest.fixture(params=[False, True], ids=["state", "three_cameras"])
def cameras(request: pytest.FixtureRequest) -> bool:
    """Whether observations carry images."""
    return request.param


@pytest.fixture
def policy(cameras: bool, tmp_path: Path) -> ServedPolicy:  # noqa: FBT001 - a fixture
    """The tiny preset's policy."""
    config = _config(cameras=cameras)
    return tiny.served(tiny.write_checkpoint(tmp_path / "policy", config=config))


@pytest.fixture
def client(policy: ServedPolicy) -> Generator[WebsocketPolicy]:
    """A client of a server of that policy, in threads of this process."""
    with tiny.running(PolicyHost(policy)) as server, WebsocketPolicy(server.url) as client:
        yield client


@pytest.mark.benchmark(group="serving")
def bench_latency(
    benchmark: BenchmarkFixture,
    policy: ServedPolicy,
    client: WebsocketPolicy,
    cameras: bool,  # noqa: FBT001 - a fixture
) -> None:
    """One request over the websocket, interleaved with the bare model: p50 and p99, ms.

    ``bare`` is the jitted ``sample_actions`` with its inputs in host memory; ``policy`` adds the
    transforms; ``served`` adds the protocol. The bar: served p50 within 2 ms of bare p50.
    """
    observation = _observation(cameras=cameras)
    times: dict[str, list[float]] = {"bare": [], "policy": [], "served": []}
    runs: dict[str, Callable[[], object]] = {
        "bare": _bare(policy.policy, policy.config),
        "policy": lambda: policy.answer(observation),
        "served": lambda: client.infer(observation),
    }

    def one_round() -> None:
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - began))

    one_round()
    times |= {name: [] for name in times}
    benchmark.pedantic(one_round, rounds=NUM_ROUNDS)
    for name, found in times.items():
        p50, p99 = np.quantile(found, [0.5, 0.99])
        benchmark.extra_info |= {f"{name}_p50_ms": float(p50), f"{name}_p99_ms": float(p99)}
    added = np.median(np.array(times["served"]) - np.array(times["bare"]))
    benchmark.extra_info["served_minus_bare_ms"] = float(added)


@pytest.mark.benchmark(group="serving")
def bench_guidance(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Classifier-free guidance over plain conditioning: one batched call instead of two."""
    directory = tiny.write_checkpoint(tmp_path / "policy", config=_config(cameras=False))
    plain, guided = (tiny.served(directory, guidance=beta) for beta in (1.0, 2.0))
    observation = _observation(cameras=False)
    times: dict[str, list[float]] = {"plain": [], "guided": []}

    def one_round() -> None:
        for name, policy in (("plain", plain), ("guided", guided)):
            began = time.perf_counter()
            policy.answer(observation)
            times[name].append(1e3 * (time.perf_counter() - began))

    benchmark.pedantic(one_round, rounds=NUM_ROUNDS)
    p50 = {name: float(np.median(found)) for name, found in times.items()}
    benchmark.extra_info |= {f"{name}_p50_ms": value for name, value in p50.items()}
    benchmark.extra_info["guided_over_plain"] = p50["guided"] / p50["plain"]


@pytest.mark.benchmark(group="serving")
def bench_throughput(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Answers per second of one server to eight clients that ask all the time."""
    directory = tiny.write_checkpoint(tmp_path / "policy", config=_config(cameras=False))
    observation = _observation(cameras=False)
    num_clients, num_requests = 8, 50

    with tiny.running(PolicyHost(tiny.served(directory))) as server:
        clients = [WebsocketPolicy(server.url) for _ in range(num_clients)]

        def all_at_once() -> None:
            threads = [
                threading.Thread(target=lambda c=c: [c.infer(observation) for _ in range(50)])
                for c in clients
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        began = time.perf_counter()
        benchmark.pedantic(all_at_once, rounds=3)
        seconds = (time.perf_counter() - began) / 3
        for client in clients:
            client.close()
        stats = server.statistics.plain({})
    benchmark.extra_info["answers_per_s"] = num_clients * num_requests / seconds
    benchmark.extra_info["request_p99_ms"] = stats["request"]["p99_ms"]


@pytest.mark.benchmark(group="serving")
def bench_codec(benchmark: BenchmarkFixture) -> None:
    """Unpack and check an observation of three 224 px images; packing it, µs."""
    observation = _observation(cameras=True)
    data = pack(observation)
    began = time.perf_counter()
    for _ in range(200):
        pack(observation)
    benchmark.extra_info["pack_us"] = 1e6 * (time.perf_counter() - began) / 200
    benchmark.extra_info["kilobytes"] = len(data) / 1e3
    benchmark(unpack, data)


def _bare(policy: LoadedPolicy, config: PolicyConfig) -> Callable[[], object]:
    """The jitted sampler with ready inputs."""
    model = config.model
    rng = np.random.default_rng(0)
    images = {view: rng.uniform(-1, 1, (1, PX, PX, 3)).astype(np.float32) for view in model.views}
    from recap_core.models.policy import PolicyInputs

    arrays = (
        images,
        {view: np.ones(1, bool) for view in model.views},
        np.zeros((1, model.state_dim or model.action_dim), np.float32),
        np.ones((1, model.max_token_len), np.int32),
        np.ones((1, model.max_token_len), bool),
    )
    inputs = PolicyInputs(*arrays)  # pyright: ignore[reportArgumentType] # move to the device
    noise = rng.standard_normal((1, model.action_horizon, model.action_dim), np.float32)
    return lambda: jax.block_until_ready(policy._sample(policy._params, noise, inputs, None))
