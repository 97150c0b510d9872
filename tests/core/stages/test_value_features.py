"""Value training under a frozen encoder, beside questions about images, as a stage."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from recap_core.checkpoints.trees import unflatten
from recap_core.config.dataset import NormStatsConfig
from recap_core.config.inference import InferRuntime
from recap_core.config.stages import InferValuesConfig, TrainValueConfig
from recap_core.config.training import AugmentConfig, TrainRuntime
from recap_core.config.vqa import VqaConfig
from recap_core.data.frames import read_frames
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.errors import ConfigError, DataError, RecapError
from recap_core.features.observations import FrozenObservations
from recap_core.lineage.artifacts import Dataset, ValueCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Bar, Progress, read_metrics
from recap_core.stages.infer_values import infer_values
from recap_core.stages.norm_stats import compute_norm_stats
from recap_core.stages.registry import CONVERT, NoSettings
from recap_core.stages.train_value import train_value_model
from recap_core.stages.value_features import inference_features
from recap_core.stages.value_questions import VqaSource, describe_questions
from recap_core.valuation.values import read_values
from tests.core.data.colours import COLOURS, conversation, write_images, write_lines
from tests.core.features import filmed
from tests.core.stages.test_align_value import params, start
from tests.core.training import robot

NUM_STEPS = 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def source(store: Store, tmp_path_factory: pytest.TempPathFactory) -> VqaSource:
    root = tmp_path_factory.mktemp("questions")
    file = write_lines(root / "data.jsonl", [conversation(colour) for colour in COLOURS])
    return describe_questions(file, write_images(root / "images"), store=store)


@pytest.fixture(scope="module")
def dataset(store: Store) -> Dataset:
    """Ten episodes of six frames, filmed by two cameras."""
    filmed_robot = SyntheticRobot(num_joints=1, cameras=("head_camera", "left_wrist_camera"))
    episodes = [SyntheticEpisode(length=6, success=i % 2 > 0) for i in range(10)]

    def build(area: Build) -> Built:
        return Built(write_synthetic_dataset(area.output, episodes, filmed_robot)._asdict())

    return store.produce(CONVERT, NoSettings(), {}, name="data", build=build)


def config(source: VqaSource, **changes: object) -> TrainValueConfig:
    """Frozen backbones, and questions beside."""
    base = filmed.config(views=filmed.VIEWS[:2])
    train = base.train.model_copy(update={"num_steps": NUM_STEPS})
    vqa = VqaConfig(digest=source.digest, batch_size=2, max_token_len=32, weight=0.5)
    fields = {"train": train, "freeze": "all_backbones", "vqa": vqa}
    return base.model_copy(update=fields | changes)


def trained(
    store: Store,
    dataset: Dataset,
    settings: TrainValueConfig,
    source: VqaSource,
    progress: Progress | None = None,
    /,
    **runtime: object,
) -> ValueCheckpoint:
    """The stage."""
    stats = NormStatsConfig(embodiment=settings.value.embodiment)
    places = {"vqa_file": source.file, "vqa_images": source.images, "log_interval": NUM_STEPS}
    return train_value_model(
        dataset,
        compute_norm_stats(dataset, stats, name="stats", store=store),
        settings,
        start=start(store, settings.value),
        name="value",
        store=store,
        runtime=TrainRuntime.model_validate(places | runtime),
        progress=progress,
    )


def test_a_frozen_model_trains_on_tokens_beside_questions(
    store: Store, dataset: Dataset, source: VqaSource, caplog: pytest.LogCaptureFixture
) -> None:
    """Tokens are kept in place of decoded videos, and both losses are logged.

    Of 20 videos, ten are those of five episodes before, byte for byte, and share their files.
    """
    caplog.set_level("INFO", logger="recap_core.stages.infer_values")
    shutil.rmtree(store.home / "cache" / "frames", ignore_errors=True)  # of tests before this one
    settings = config(source)
    value_model = trained(store, dataset, settings, source, features="cache")

    (row,) = read_metrics(store.path(value_model) / "metrics.jsonl")
    expected = row["value_loss"] + 0.5 * row["vqa_loss"]
    np.testing.assert_allclose(row["loss"], expected, rtol=1e-5)
    assert len(list((store.home / "cache" / "features").glob("*.tokens"))) == 10
    assert not (store.home / "cache" / "frames").exists()
    before, after = params(store, start(store, settings.value)), params(store, value_model)
    kept = {leaf.partition("/")[0] for leaf in before if np.array_equal(before[leaf], after[leaf])}
    assert kept == {"img", "llm"}

    # Whoever infers values with the trained model finds the tokens of its encoder.
    table, loaded = read_frames(store.path(dataset)), unflatten(after)
    tokens = inference_features(table, settings.value, loaded, store=store)
    assert tokens is not None
    transform = robot.value_transform(settings.value)
    frames = np.array([3, 59])
    inputs = FrozenObservations(table, settings.value, transform, tokens)(frames)
    assert set(inputs.image_features) == set(filmed.VIEWS[:2])
    assert not inputs.images
    seen = robot.norm_stats().feature("state")
    state = (table.column("observation.state")[frames] - seen.mean) / seen.std
    np.testing.assert_allclose(np.asarray(inputs.state)[:, :4], state, rtol=1e-5)
    loaded["img"]["pos_embedding"] = loaded["img"]["pos_embedding"] + 1
    assert inference_features(table, settings.value, loaded, store=store) is None

    kept_tokens = inferred(store, dataset, value_model, "auto")
    assert "read as the tokens" in caplog.text
    caplog.clear()
    decoded = inferred(store, dataset, value_model, "recompute")
    assert "read as the tokens" not in caplog.text
    np.testing.assert_allclose(kept_tokens, decoded, atol=2e-6)


def inferred(
    store: Store, dataset: Dataset, value_model: ValueCheckpoint, features: str
) -> np.ndarray:
    """Values, made anew."""
    runtime = InferRuntime.model_validate({"batch_size": 32, "features": features})
    values = infer_values(
        dataset, value_model, InferValuesConfig(), runtime, name="values", store=store
    )
    found = read_values(store.path(values))
    store.remove(values)
    return found


KEPT: dict[str, object] = {"features": "cache"}
REFUSED: dict[str, tuple[dict[str, object], dict[str, object], type[RecapError], str]] = {
    "augmented": ({"augment": AugmentConfig()}, KEPT, ConfigError, "changed at random"),
    "too large": ({}, KEPT | {"feature_cache_gb": 1e-9}, DataError, r"may take 0\.0 GB"),
    "no place": ({}, {"vqa_file": None}, ConfigError, "nothing says where they are"),
    "uneven": ({}, {"micro_batches": 4}, ConfigError, "vqa.batch_size is 2.*a multiple of 4"),
}


@pytest.mark.parametrize(("train", "runtime", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(  # noqa: PLR0917 - fixtures and parameters
    store: Store,
    dataset: Dataset,
    source: VqaSource,
    train: dict[str, object],
    runtime: dict[str, object],
    error: type[RecapError],
    message: str,
) -> None:
    """Before the first step, with what to do."""
    base = config(source)
    settings = config(source, train=base.train.model_copy(update={"seed": 1} | train))

    with pytest.raises(error, match=message):
        trained(store, dataset, settings, source, **runtime)


class Repaints:
    """Somebody who watches, and changes an image of the questions meanwhile."""

    def __init__(self, image: Path) -> None:
        self._image = image

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """Itself."""
        del label, total, done
        yield self

    def update(self, done: int, note: str = "") -> None:
        """Another colour."""
        del done, note
        self._image.write_bytes(self._image.with_name("blue.png").read_bytes())


def test_questions_that_change_meanwhile_are_no_result(
    store: Store, dataset: Dataset, tmp_path: Path
) -> None:
    """The key names those that were there at first."""
    file = write_lines(tmp_path / "data.jsonl", [conversation(colour) for colour in COLOURS])
    images = write_images(tmp_path / "images")
    source = describe_questions(file, images, store=store)
    train = config(source).train.model_copy(update={"seed": 2})

    with pytest.raises(DataError, match="they changed"):
        trained(store, dataset, config(source, train=train), source, Repaints(images / "red.png"))


def test_a_trained_encoder_has_no_lasting_tokens(
    store: Store, dataset: Dataset, source: VqaSource
) -> None:
    """``cache`` says so."""
    with pytest.raises(ConfigError, match=r"freeze is 'none'.*auto or recompute"):
        trained(store, dataset, config(source, freeze="none"), source, features="cache")
