"""Alignment of a value model's image projection, as a stage."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

from recap_core.checkpoints.params import load_params
from recap_core.checkpoints.trees import flatten
from recap_core.checkpoints.value_checkpoint import (
    ValueSettings,
    read_value_model,
    write_value_model,
)
from recap_core.config.labels import TargetConfig
from recap_core.config.policy import LoraConfig, SiglipConfig
from recap_core.config.training import OptimizerConfig, TrainConfig, TrainRuntime
from recap_core.config.value import Gemma3Config, ValueConfig
from recap_core.config.vqa import AlignValueConfig
from recap_core.errors import ConfigError, DataError
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.models.value_model import ValueModel
from recap_core.progress import Bar, Progress, read_metrics
from recap_core.stages.align_value import align_value_model, is_trained
from recap_core.stages.registry import TRAIN_VALUE
from recap_core.stages.value_questions import VqaSource, describe_questions
from tests.core.data.colours import COLOURS, conversation, write_images, write_lines
from tests.core.features import filmed
from tests.core.training import robot

NUM_STEPS = 90
RUNTIME = TrainRuntime(log_interval=10, save_interval=20)


class DiesAt:
    """Somebody who watches, and whose terminal goes away while a step is told."""

    def __init__(self, step: int) -> None:
        self._step = step

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """Itself."""
        del label, total, done
        yield self

    def update(self, done: int, note: str = "") -> None:
        """Raise, or not."""
        del note
        if done >= self._step:
            raise BrokenPipeError("the terminal is gone")


def value_config(**changes: object) -> ValueConfig:
    wide = {"width": 16, "mlp_dim": 32, "num_heads": 1, "num_kv_heads": 1, "head_dim": 8}
    fields = {
        "gemma": Gemma3Config.model_validate({**wide, "depth": 1, "global_every": 1}),
        "siglip": SiglipConfig(width=16, depth=1, mlp_dim=16, num_heads=1),
        "views": filmed.VIEWS[:2],
        "image_px": filmed.PX,
        "state_input": "none",
    } | changes
    return robot.train_value_config(**fields).value


def start(store: Store, value: ValueConfig) -> ValueCheckpoint:
    """A value model of fresh parameters, as an import would leave one."""

    def build(area: Build) -> Built:
        params = ValueModel(value.model).init(jax.random.key(0))
        settings = ValueSettings(value, TargetConfig(), robot.norm_stats())
        write_value_model(area.output, params, None, settings)
        return Built({"num_steps": 0, "num_params": 1, "healthy": False})

    return store.produce(TRAIN_VALUE, value, {}, name="start", build=build)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def source(store: Store, tmp_path_factory: pytest.TempPathFactory) -> VqaSource:
    """What colour is the image? Three images."""
    root = tmp_path_factory.mktemp("questions")
    file = write_lines(root / "data.jsonl", [conversation(colour) for colour in COLOURS])
    return describe_questions(file, write_images(root / "images"), store=store)


def config(source: VqaSource, **changes: object) -> AlignValueConfig:
    optimizer = OptimizerConfig(peak_lr=0.05, end_lr=0.05, warmup_steps=0, decay_steps=1000)
    train = TrainConfig(num_steps=NUM_STEPS, batch_size=3, ema_decay=None, optimizer=optimizer)
    fields = {"digest": source.digest, "train": train, "lora": LoraConfig(rank=4, alpha=8)}
    return AlignValueConfig.model_validate(fields | changes)


def aligned(
    store: Store,
    source: VqaSource,
    settings: AlignValueConfig,
    *,
    home: Path | None = None,
    progress: Progress | None = None,
) -> ValueCheckpoint:
    """In ``store``, or for a second time in a store at ``home``."""
    place = store if home is None else Store(home)
    return align_value_model(
        start(place, value_config()),
        source,
        settings,
        name="aligned",
        store=place,
        runtime=RUNTIME,
        progress=progress,
    )


def params(store: Store, model: ValueCheckpoint) -> dict[str, np.ndarray]:
    return flatten(load_params(store.path(model) / "params"))


@pytest.fixture(scope="module")
def whole(store: Store, source: VqaSource) -> ValueCheckpoint:
    """Projection and adapters, trained without a break."""
    return aligned(store, source, config(source))


def test_answers_are_learned(store: Store, whole: ValueCheckpoint) -> None:
    """The loss falls, and nearly all of the 18 tokens are right: more than without eyes.

    Whoever does not see the colour gets the first letter of two of the three answers wrong.
    """
    rows = read_metrics(store.path(whole) / "metrics.jsonl")

    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert rows[-1]["answer_accuracy"] > 16.5 / 18 > rows[0]["answer_accuracy"]
    assert (whole.num_steps, whole.healthy) == (NUM_STEPS, False)
    assert whole.parents == (start(store, value_config()).id,)


def test_only_projection_and_adapters_change(store: Store, whole: ValueCheckpoint) -> None:
    """All other leaves keep their bytes; the published settings name the adapters."""
    before, after = params(store, start(store, value_config())), params(store, whole)
    lora = read_value_model(store.path(whole)).settings.config.model.gemma.lora

    changed = {leaf for leaf in before if not np.array_equal(before[leaf], after[leaf])}
    added = after.keys() - before.keys()

    assert changed == {"img_projection/kernel", "img_projection/bias"}
    assert added
    assert all(leaf.endswith(("lora_a", "lora_b")) for leaf in added)
    assert any(after[leaf].any() for leaf in added if leaf.endswith("lora_b"))
    assert lora == LoraConfig(rank=4, alpha=8)


def test_a_killed_alignment_continues_bit_for_bit(
    store: Store, source: VqaSource, whole: ValueCheckpoint, tmp_path: Path
) -> None:
    """Killed at step 50, continued from step 40; what was compiled is shared."""
    home = tmp_path / "home"
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "xla").symlink_to(store.home / "cache" / "xla")
    with pytest.raises(BrokenPipeError):
        aligned(store, source, config(source), home=home, progress=DiesAt(50))
    again = aligned(store, source, config(source), home=home)

    expected, found = params(store, whole), params(Store(home), again)
    assert found.keys() == expected.keys()
    for leaf, numbers in expected.items():
        np.testing.assert_array_equal(found[leaf], numbers, err_msg=leaf)


def test_without_adapters_the_projection_trains_alone(source: VqaSource) -> None:
    """Whatever adapters the start has."""
    adapted = value_config().model.gemma.model_copy(update={"lora": LoraConfig(rank=4, alpha=8)})
    shapes = jax.eval_shape(ValueModel(value_config(gemma=adapted).model).init, jax.random.key(0))
    alone, both = config(source, lora=None), config(source)

    trained = {leaf for leaf in flatten(shapes) if is_trained(leaf, alone)}

    assert trained == {"img_projection/kernel", "img_projection/bias"}
    assert {leaf for leaf in flatten(shapes) if is_trained(leaf, both)} > trained


def test_other_questions_are_refused(store: Store, source: VqaSource) -> None:
    """Before anything is trained: the key would say something else than what was learned."""
    with pytest.raises(DataError, match=r"data\.jsonl and its images have digest .* they changed"):
        aligned(store, source, config(source, digest="0" * 32))


def test_a_blind_model_cannot_be_aligned(store: Store, source: VqaSource) -> None:
    """It has no image projection."""
    blind = start(store, value_config(views=()))

    with pytest.raises(ConfigError, match=r"sees no images.*nothing to align"):
        align_value_model(blind, source, config(source), name="blind", store=store)
