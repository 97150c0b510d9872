"""A server that follows a ref: the next policy takes over between two requests."""

import logging
import shutil
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.serving import following
from recap_core.serving.client import WebsocketPolicy
from recap_core.serving.following import RefFollower
from recap_core.serving.host import PolicyHost, ServedPolicy
from recap_core.serving.policy import LoadedPolicy
from recap_core.serving.statistics import ServingStatistics
from recap_core.stages.registry import TRAIN_POLICY
from tests.core.serving import tiny
from tests.core.training import robot

REF = "demo/yam/current"


def publish(store: Store, name: str, directory: Path) -> PolicyCheckpoint:
    """A policy directory as an artifact."""

    def build(area: Build) -> Built:
        shutil.copytree(directory, area.output, dirs_exist_ok=True)
        return Built({"num_steps": 1, "num_params": 1})

    base = robot.train_policy_config()
    train = base.train.model_copy(update={"seed": sum(name.encode())})  # a key of its own
    config = base.model_copy(update={"train": train})
    return store.produce(TRAIN_POLICY, config, {}, name=name, build=build)


class World:
    """A store with two policies, and a host that serves the first."""

    def __init__(self, root: Path, first: Path) -> None:
        self.store = Store(root / "home")
        self.statistics = ServingStatistics()
        self.first = publish(self.store, "first", first)
        self.store.set_ref(REF, self.first)
        policy = self.load(self.first)
        policy.policy.warm_up()
        self.host = PolicyHost(policy, names_policy=True)
        self.follower = RefFollower(
            self.store,
            REF,
            load=self.load,
            host=self.host,
            statistics=self.statistics,
            poll_s=0.01,
        )

    def load(self, artifact: PolicyCheckpoint) -> ServedPolicy:
        """The policy of an artifact."""
        policy = LoadedPolicy.load(self.store.path(artifact), batch_size=1)
        name = f"{artifact.name}-{artifact.id[:8]}"
        return ServedPolicy(policy, name=name, artifact_id=artifact.id)

    def count(self, what: str) -> int:
        """A counter of the server."""
        return self.statistics.plain({})[what]


@pytest.fixture
def world(tmp_path: Path, tiny_checkpoint: Path) -> Generator[World]:
    """Its follower has ended when the next test begins."""
    world = World(tmp_path, tiny_checkpoint)
    yield world
    world.follower.stop()
    if world.follower._thread.ident is not None:
        world.follower._thread.join()


def test_robots_go_on_while_the_policy_is_replaced(world: World, tmp_path: Path) -> None:
    """A client asks all the time: none fails, and every answer is of one of the two."""
    second = publish(world.store, "second", tiny.write_checkpoint(tmp_path / "second", seed=1))
    observation = tiny.observation()
    expected = {world.host.current.name: world.host.current.answer(observation)["actions"]}
    names: list[str] = []
    mixed: list[str] = []
    done = threading.Event()

    def work(url: str) -> None:
        with WebsocketPolicy(url) as client:
            while not done.is_set():
                answer = client.infer(observation)
                name = answer["policy"]
                names.append(name)
                if name in expected and not np.array_equal(answer["actions"], expected[name]):
                    mixed.append(name)

    with tiny.running(world.host) as server:
        threads = [threading.Thread(target=work, args=(server.url,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        tiny.when(lambda: len(names) >= len(threads))  # of the first one
        world.follower.start()
        world.store.set_ref(REF, second)
        tiny.when(lambda: f"second-{second.id[:8]}" in names)
        tiny.when(lambda: world.count("swaps_total") == 1)  # counted after the swap
        done.set()
        for thread in threads:
            thread.join()
        with WebsocketPolicy(server.url) as late:
            assert late.get_server_metadata()["policy"]["id"] == second.id

    assert set(names) == {f"first-{world.first.id[:8]}", f"second-{second.id[:8]}"}
    assert mixed == []
    assert world.count("swaps_total") == 1
    assert not np.allclose(
        world.host.current.answer(observation)["actions"],
        expected[f"first-{world.first.id[:8]}"],
    )


def test_a_roll_back_is_followed_too(world: World, tmp_path: Path) -> None:
    """Forth and back; a look at an unmoved ref changes nothing."""
    second = publish(world.store, "second", tiny.write_checkpoint(tmp_path / "second", seed=1))

    world.store.set_ref(REF, second)
    moved = [world.follower.check(), world.follower.check()]
    world.store.set_ref(REF, world.first)
    moved += [world.follower.check(), world.follower.check()]

    assert moved == [True, False, True, False]
    assert world.host.current.artifact_id == world.first.id


def test_another_robots_policy_is_refused_once_and_loudly(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Seven dims instead of fourteen: the old policy goes on, the error names both."""
    one_arm = tiny.write_checkpoint(tmp_path / "arm", dim=7)
    other = publish(world.store, "one-arm", one_arm)
    world.store.set_ref(REF, other)

    with caplog.at_level(logging.ERROR):
        assert [world.follower.check() for _ in range(3)] == [False] * 3

    assert len([one for one in caplog.records if one.name == following.__name__]) == 1
    assert "NOT put in place" in caplog.text
    assert "state_dim 14 became 7" in caplog.text
    assert "action_dim 14 became 7" in caplog.text
    assert world.host.current.artifact_id == world.first.id
    assert world.count("refused_swaps_total") == 1


def test_a_damaged_policy_is_refused(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its content is verified before it is loaded; the next good one is taken."""
    broken = publish(world.store, "broken", tiny.write_checkpoint(tmp_path / "b", seed=2))
    good = publish(world.store, "good", tiny.write_checkpoint(tmp_path / "g", seed=3))
    path = world.store.path(broken) / "policy.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace("action_horizon", "action_horizont"))
    world.store.set_ref(REF, broken)

    with caplog.at_level(logging.ERROR):
        assert not world.follower.check()
    assert "NOT put in place" in caplog.text
    world.store.set_ref(REF, good)
    assert world.follower.check()
    assert world.host.current.artifact_id == good.id


def test_a_ref_that_vanished_changes_nothing(world: World) -> None:
    """The policy that is loaded goes on."""
    (world.store.home / "refs" / REF).unlink()

    assert not world.follower.check()
    assert world.host.current.artifact_id == world.first.id
