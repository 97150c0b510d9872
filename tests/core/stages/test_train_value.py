"""The value model's stage on a dataset so small that it overfits."""

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from recap_core.checkpoints.params import load_params
from recap_core.checkpoints.trees import flatten
from recap_core.config.dataset import NormStatsConfig
from recap_core.config.stages import HealthConfig, TrainValueConfig
from recap_core.config.training import OptimizerConfig, TrainRuntime, ValidationConfig
from recap_core.data.batches import split_episodes
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.errors import ConfigError, DataError
from recap_core.lineage.artifacts import Artifact, Dataset, ValueCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Bar, Progress, read_metrics
from recap_core.stages.norm_stats import compute_norm_stats
from recap_core.stages.registry import CONVERT
from recap_core.stages.train_value import HEALTH_FILE, train_value_model
from tests.core.training import robot

NUM_EPISODES, NUM_STEPS = 20, 120
# Saved less often than measured, so that a killed run has measurements to forget.
RUNTIME = TrainRuntime(log_interval=40, save_interval=35)
OPTIMIZER = OptimizerConfig(peak_lr=0.02, end_lr=0.02, warmup_steps=0, decay_steps=1000)


def _config(**changes: Any) -> TrainValueConfig:  # noqa: ANN401 - fields
    config = robot.train_value_config()
    train = config.train.model_copy(
        update={"num_steps": NUM_STEPS, "ema_decay": 0.8, "optimizer": OPTIMIZER}
    )
    fields = {
        "train": train,
        "validation": ValidationConfig(interval=10, patience=3),
        "health": HealthConfig(num_bootstrap=100),
    }
    return config.model_copy(update=fields | changes)


def _with_steps(config: TrainValueConfig, num_steps: int) -> TrainValueConfig:
    train = config.train.model_copy(update={"num_steps": num_steps})
    return config.model_copy(update={"train": train})


class _DiesAt:
    """Somebody who watches, and whose terminal goes away while a step is told."""

    def __init__(self, step: int) -> None:
        self._step = step

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        del label, total, done
        yield self

    def update(self, done: int, note: str = "") -> None:
        del note
        if done >= self._step:
            raise BrokenPipeError("the terminal is gone")


def _dataset(store: Store, num_episodes: int) -> Dataset:
    """The state names the episode, and every third one fails: nothing that carries over."""
    episodes = [SyntheticEpisode(length=6 + i % 4, success=i % 3 > 0) for i in range(num_episodes)]

    def build(area: Build) -> Built:
        small = SyntheticRobot(num_joints=1, cameras=())
        return Built(write_synthetic_dataset(area.output, episodes, small)._asdict())

    key = NormStatsConfig(action_horizon=num_episodes)  # any config: it makes the key differ
    return store.produce(CONVERT, key, {}, name=f"data-{num_episodes}", build=build)


def _trained(
    store: Store,
    config: TrainValueConfig,
    *,
    num_episodes: int = NUM_EPISODES,
    start: ValueCheckpoint | None = None,
    progress: Progress | None = None,
) -> ValueCheckpoint:
    dataset = _dataset(store, num_episodes)
    stats = compute_norm_stats(
        dataset, NormStatsConfig(embodiment=robot.EMBODIMENT), name="stats", store=store
    )
    return train_value_model(
        dataset,
        stats,
        config,
        start=start,
        name="value",
        store=store,
        runtime=RUNTIME,
        progress=progress,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def stopped(store: Store) -> ValueCheckpoint:
    """A training that was killed at step 40, continued from step 35, and stopped early."""
    with pytest.raises(BrokenPipeError):
        _trained(store, _config(), progress=_DiesAt(40))
    return _trained(store, _config())


def _params(store: Store, model: Artifact, which: str) -> dict[str, np.ndarray]:
    return flatten(load_params(store.path(model) / which))


def _health(store: Store, model: Artifact) -> dict[str, Any]:
    return json.loads((store.path(model) / HEALTH_FILE).read_text())


def test_a_model_that_overfits_is_stopped(store: Store, stopped: ValueCheckpoint) -> None:
    """Its validation loss rose for three measurements, and the manifest has both numbers."""
    assert stopped.best_step is not None
    assert stopped.stopped_step is not None
    assert stopped.stopped_step == stopped.best_step + 30 < NUM_STEPS
    assert stopped.num_steps == stopped.best_step
    metrics = store.manifest(stopped).metrics
    rows = {
        row["step"]: row["val_loss"]
        for row in read_metrics(store.path(stopped) / "metrics.jsonl")
        if "val_loss" in row
    }
    assert list(rows) == list(range(10, stopped.stopped_step + 1, 10))
    assert metrics["val_loss"] == min(rows.values()) == rows[stopped.best_step]
    assert metrics["last_val_loss"] == rows[stopped.stopped_step]
    assert rows[stopped.stopped_step] > rows[stopped.best_step]


def test_the_best_parameters_are_those_of_their_step(
    store: Store, stopped: ValueCheckpoint
) -> None:
    """Raw and averaged, bit for bit what a training of that many steps ends with."""
    plain = _trained(store, _with_steps(_config(validation=None), stopped.num_steps))

    assert (plain.best_step, plain.stopped_step) == (None, None)
    for which in ("params", "ema_params"):
        expected = _params(store, plain, which)
        found = _params(store, stopped, which)
        assert found.keys() == expected.keys()
        for leaf, values in expected.items():
            np.testing.assert_array_equal(found[leaf], values)
    # What chose the parameters does not judge them: two test episodes, not two and two.
    judged = [
        sum(_health(store, model)[f"num_{outcome}_episodes"] for outcome in ("success", "failure"))
        for model in (stopped, plain)
    ]
    split = split_episodes(NUM_EPISODES)
    assert judged == [len(split.test), len(split.test) + len(split.validation)] == [2, 4]


def test_frozen_parts_are_the_start_s(store: Store, stopped: ValueCheckpoint) -> None:
    """Its averages are where training starts, and the start is a parent."""
    config = _with_steps(_config(validation=None, freeze="all_backbones"), 3)

    tuned = _trained(store, config, start=stopped)

    before = _params(store, stopped, "ema_params")
    for which in ("params", "ema_params"):
        after = _params(store, tuned, which)
        same = {leaf for leaf in before if before[leaf].tobytes() == after[leaf].tobytes()}
        assert same == {leaf for leaf in before if leaf.startswith("llm/")}
        moved = max(float(np.abs(after[leaf] - before[leaf]).max()) for leaf in before)
        assert moved < 0.1  # three steps of 0.02 from the start, not from fresh parameters
    assert stopped.id in tuned.parents


def test_what_the_start_was_trained_on_does_not_judge(
    store: Store, stopped: ValueCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Three more episodes split the dataset anew; of two episodes, the start knows the judge."""
    config = _with_steps(_config(validation=None), 3)
    tuned = _trained(store, config, num_episodes=23, start=stopped)

    before, after = split_episodes(NUM_EPISODES), split_episodes(23)
    held_out = {*after.validation.tolist(), *after.test.tolist()}
    unseen = held_out - set(before.train.tolist())
    health = _health(store, tuned)
    assert health["num_success_episodes"] + health["num_failure_episodes"] == len(unseen)
    assert 0 < len(unseen) < len(held_out)
    assert f"trained on {len(held_out - unseen)} of the {len(held_out)} episodes" in caplog.text

    known = _trained(store, config, num_episodes=2, start=stopped)
    assert set(split_episodes(2).test.tolist()) <= set(before.train.tolist())
    assert (
        "the start was trained on all 1 held-out episodes" in _health(store, known)["reasons"][-1]
    )


def test_random_parts_are_not_frozen(store: Store) -> None:
    """Without a start, a frozen language model would stay noise."""
    with pytest.raises(ConfigError, match=r"freeze is 'all_backbones' and there is no start: \d+"):
        _trained(store, _config(freeze="all_backbones"))


def test_a_single_episode_is_too_few(store: Store) -> None:
    """It would be held out itself; the error says how many are needed."""
    with pytest.raises(DataError, match=r"has 1 episode\(s\).* Record at least 2"):
        _trained(store, _config(), num_episodes=1)


def test_too_few_episodes_to_validate_on(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Three episodes train to the end, say so, and are no healthy model."""
    with caplog.at_level(logging.WARNING):
        model = _trained(store, _with_steps(_config(), 3), num_episodes=3)

    assert "none of the 3 episodes is left to validate on" in caplog.text
    assert "raise health.held_out_share" in caplog.text
    assert (model.num_steps, model.best_step, model.healthy) == (3, None, False)
    assert "record more episodes" in _health(store, model)["reasons"][0]
