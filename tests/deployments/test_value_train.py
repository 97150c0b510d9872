"""``recap value train`` as a user meets it."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from deployments.cli.value_settings import own_norm_stats, value_settings
from recap_core.checkpoints.value_checkpoint import ValueSettings, write_value_model
from recap_core.config.dataset import NormStatsConfig
from recap_core.config.labels import TargetConfig
from recap_core.config.presets import value_config
from recap_core.config.stages import TrainValueConfig
from recap_core.config.value import ValueConfig
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.errors import RecapError
from recap_core.lineage.artifacts import Dataset, NormStats, ValueCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.models.value_model import ValueModel
from recap_core.stages.norm_stats import compute_norm_stats
from recap_core.stages.registry import ALIGN_VALUE, CONVERT, TRAIN_VALUE, NoSettings
from recap_core.transforms.normalize import NormStats as Statistics

TARGETS = TargetConfig(rule="fixed_limit", limit_frames=20)


@pytest.fixture
def dataset(recap_home: Path) -> Dataset:
    """Ten episodes without images, every second of which fails."""
    episodes = [SyntheticEpisode(length=6, success=i % 2 == 0) for i in range(10)]

    def build(area: Build) -> Built:
        summary = write_synthetic_dataset(area.output, episodes, SyntheticRobot(cameras=()))
        return Built(summary._asdict())

    return Store(recap_home).produce(CONVERT, NoSettings(), {}, name="rollouts", build=build)


def small_value() -> ValueConfig:
    """The tiny value model with one layer, for the synthetic robot."""
    settings = value_config("tiny").model_dump(mode="json")
    settings["embodiment"]["state"] = ["observation.state"]
    settings["model"]["gemma"] |= {"depth": 1, "width": 16, "mlp_dim": 16}
    settings["model"]["state_dim"] = 14
    return ValueConfig.model_validate(settings)


def start(home: Path, dataset: Dataset) -> tuple[ValueCheckpoint, NormStats]:
    """A value model that was trained elsewhere, and its norm stats."""
    store, value = Store(home), small_value()
    settings = NormStatsConfig(embodiment=value.embodiment, action_horizon=3)
    stats = compute_norm_stats(dataset, settings, name="its-own", store=store)

    def build(area: Build) -> Built:
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(ValueModel(value.model).init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: 0.1 * rng.standard_normal(leaf.shape, "f4"), shapes)
        write_value_model(area.output, params, None, ValueSettings(value, TARGETS, Statistics({})))
        return Built({"num_steps": 0, "num_params": 1, "healthy": False})

    inputs = {"norm_stats": stats}
    model = store.produce(TRAIN_VALUE, NoSettings(), inputs, name="start", build=build)
    store.set_ref("my/yam/start", model)
    return model, stats


def recap(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["value", "train", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_a_start_goes_on_counting_as_it_did(recap_home: Path, dataset: Dataset) -> None:
    """Also where a preset names the rest; one setting changes it."""
    store, (begin, _) = Store(recap_home), start(recap_home, dataset)

    kept = value_settings(None, "tiny", [], store=store, start=begin)
    changed = value_settings(None, "tiny", ["targets.limit_frames=9"], store=store, start=begin)

    assert kept.targets == TARGETS
    assert kept.value == value_config("tiny")
    assert changed.targets.limit_frames == 9


def test_a_start_alone_trains_as_the_reference_does(recap_home: Path, dataset: Dataset) -> None:
    """Its model, targets and norm stats; encoders frozen, the best on validation published."""
    begin, stats = start(recap_home, dataset)

    done = recap(
        dataset.id, "--start", "my/yam/start", "--ref", "my/yam/value",
        "--set=train.num_steps=2", "--set=train.batch_size=8", "--set=validation.interval=1",
        "--set=train.optimizer.warmup_steps=0", "--set=health.num_bootstrap=100",
    )  # fmt: skip

    store = Store(recap_home)
    model = store.get("my/yam/value")
    assert isinstance(model, ValueCheckpoint)
    assert {begin.id, stats.id, dataset.id} == set(model.parents)
    assert model.best_step == model.num_steps
    config = TrainValueConfig.model_validate(store.manifest(model).config)
    assert config.freeze == "all_backbones"
    assert config.value.model == small_value().model
    assert config.value.prompt.tokenizer_digest is not None
    assert config.targets == TARGETS
    # One episode of each kind cannot be shown to be told apart; the answer says why.
    title, summary, *rest = done.stdout.splitlines()
    assert title == f"value checkpoint value-{model.id[:8]}"
    assert f"{model.num_steps} steps" in summary
    assert "validation loss" in summary
    assert "NOT healthy" in done.stdout
    assert any("are held out, at least 2 of each are needed" in line for line in rest)


def test_an_aligned_start_keeps_its_norm_stats(recap_home: Path, dataset: Dataset) -> None:
    """Its own parent is the model that it was aligned from, and that one's are the norm stats."""
    begin, stats = start(recap_home, dataset)
    store = Store(recap_home)

    def build(area: Build) -> Built:
        shutil.copytree(store.path(begin) / "params", area.output / "params")
        return Built({"num_steps": 0, "num_params": 1, "healthy": False})

    aligned = store.produce(ALIGN_VALUE, NoSettings(), {"start": begin}, name="new", build=build)

    assert isinstance(aligned, ValueCheckpoint)
    assert stats.id not in aligned.parents
    assert own_norm_stats(aligned, store=store) == own_norm_stats(begin, store=store) == stats


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing says which value model to train.*--preset.*--start"),
        (("--preset=single_gpu",), "recap value import <weights> --ref pretrained/value/base"),
        (("--preset=tiny", "--set=freeze=all"), "freeze is 'all'"),
        (("--preset=tiny", "--set=freezes=none"), "'freezes'; did you mean 'freeze'"),
        (("--preset=tiny", "--set=validation.interval=0"), "validation.interval is 0"),
        (("--preset=tiny", "--start=nobody"), "nobody"),
    ],
)
def test_a_wrong_request_is_one_helpful_line(
    dataset: Dataset, arguments: tuple[str, ...], message: str
) -> None:
    """Before anything is read or trained."""
    with pytest.raises(RecapError, match=message):
        recap(dataset.id, *arguments)
