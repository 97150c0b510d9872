"""Published weights become a value model in the store."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.checkpoints.params import load_params
from recap_core.checkpoints.trees import flatten
from recap_core.checkpoints.value_checkpoint import read_value_model
from recap_core.config.policy import PromptConfig
from recap_core.config.stages import InferValuesConfig
from recap_core.errors import CheckpointError, ConfigError, IncompatibleError
from recap_core.lineage.artifacts import Dataset, ValueCheckpoint
from recap_core.lineage.store import Store
from recap_core.models.tokenizer import tokenizer_digest, tokenizer_path
from recap_core.stages.import_value import describe_value, import_value, read_match
from recap_core.stages.infer_values import infer_values
from recap_core.stages.value_loading import check_has_weights
from tasks.summaries import headline
from tests.core.checkpoints import value_layouts as layouts
from tests.core.checkpoints.value_layouts import VALUE

PARAMS, EMA = layouts.random_params(1), layouts.random_params(2)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of the reference, and SigLIP alone."""
    root = tmp_path_factory.mktemp("weights")
    layouts.write_step(root / "training", 5000, PARAMS, EMA)
    layouts.write_npz(root / "siglip.npz", layouts.big_vision(layouts.siglip(), scan=True))
    return root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home")


def run(store: Store, *paths: Path, **options: Any) -> ValueCheckpoint:  # noqa: ANN401
    value = options.pop("value", VALUE)
    return import_value(describe_value(paths, value, store=store, **options), name="v", store=store)


def test_a_whole_value_model_is_published_with_its_origin(source: Path, store: Store) -> None:
    """Every leaf, its configuration, its step; not judged, so not healthy; no norm stats."""
    model = run(store, source / "training", ema=True)

    files = read_value_model(store.path(model))
    assert files.settings.config == VALUE
    assert (files.settings.norm_stats, files.ema_params) == (None, None)
    found = flatten(load_params(files.params))
    assert found.keys() == EMA.keys()
    for path, leaf in EMA.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)
    assert (model.healthy, model.fresh_leaves, model.source_step) == (False, (), 5000)
    assert model.source == str(source / "training" / "step_00005000")
    assert model.source_layouts == ("value_model",)
    assert read_match(store.path(model)).num_params == model.num_params
    assert headline(model).endswith("imported")
    check_has_weights(model)
    store.verify(model)


def test_what_no_source_holds_is_listed_and_infers_nothing(source: Path, store: Store) -> None:
    """Values of a head that was never trained would look like values."""
    model = run(store, source / "siglip.npz")

    assert {leaf.partition("/")[0] for leaf in model.fresh_leaves} == {
        "llm", "img_projection", "cross_attention", "cross_attn_norm", "value_head"
    }  # fmt: skip
    dataset = Dataset(
        id="0" * 32, name="d", digest="0", num_episodes=1, num_frames=1, fps=10, tasks=("t",)
    )
    with pytest.raises(CheckpointError, match=r"imported and not trained: .*value_head.* fresh"):
        infer_values(dataset, model, InferValuesConfig(), name="values", store=store)
    aligned = model.model_copy(update={"source": None})  # what the stage that aligns publishes
    with pytest.raises(CheckpointError, match="aligned and not trained"):
        check_has_weights(aligned)


def test_the_key_is_the_content(source: Path, store: Store, tmp_path: Path) -> None:
    """The same files elsewhere are the same artifact; other averages, seeds and bytes are not."""
    first = run(store, source / "siglip.npz")
    moved = Path(shutil.copy(source / "siglip.npz", tmp_path / "other.npz"))

    assert run(store, moved).id == first.id
    assert run(store, moved, seed=1).id != first.id
    raw = describe_value([source / "training"], VALUE, store=store).config
    averaged = describe_value([source / "training"], VALUE, ema=True, store=store).config
    assert raw != averaged


def test_weights_that_change_meanwhile_are_not_published(
    source: Path, store: Store, tmp_path: Path
) -> None:
    """What the key says is what is in the artifact."""
    file = Path(shutil.copy(source / "siglip.npz", tmp_path / "siglip.npz"))
    described = describe_value([file], VALUE, store=store)
    layouts.write_npz(file, layouts.big_vision(layouts.siglip(attention_dropout=0.5), scan=False))

    with pytest.raises(CheckpointError, match="changed while it was imported"):
        import_value(described, name="v", store=store)
    assert not list((store.home / "artifacts").glob("value-models/*"))


def test_the_tokenizer_beside_the_weights_is_recorded(
    source: Path, store: Store, tmp_path: Path
) -> None:
    """A prompt of Gemma's reads through that file, and through no other."""
    weights = Path(shutil.copytree(source, tmp_path / "weights"))
    spm = shutil.copy(tokenizer_path("tiny"), weights / "tokenizer.model")
    digest = tokenizer_digest(Path(spm))
    value = VALUE.model_copy(update={"prompt": PromptConfig(tokenizer="gemma3", advantage=False)})

    described = describe_value([weights / "siglip.npz"], value, store=store)

    assert described.config.value.prompt.tokenizer_digest == digest
    other = value.prompt.model_copy(update={"tokenizer_digest": "0" * 32})
    with pytest.raises(IncompatibleError, match=f"has digest {digest}, prompt.tokenizer_digest is"):
        describe_value(
            [weights / "siglip.npz"], value.model_copy(update={"prompt": other}), store=store
        )


def test_one_layout_is_said_of_one_path(source: Path, store: Store) -> None:
    """And it is believed: an npz is no Orbax checkpoint."""
    with pytest.raises(ConfigError, match="--layout big_vision says what one PATH is; 2 are named"):
        describe_value([source, source], VALUE, layout="big_vision", store=store)
    with pytest.raises(CheckpointError, match="is no Orbax checkpoint"):
        describe_value([source / "siglip.npz"], VALUE, layout="deepmind_gemma", store=store)


def test_old_value_models_are_still_read() -> None:
    """A handle without the fields of an import was trained here."""
    old = {"id": "0" * 32, "name": "v", "digest": "0", "num_steps": 5, "num_params": 7}

    model = ValueCheckpoint.model_validate_json(json.dumps({**old, "healthy": True}))

    assert (model.source, model.fresh_leaves) == (None, ())
    check_has_weights(model)
