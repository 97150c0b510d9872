"""Weights that are damaged, incomplete, or another model's: one error that says what to do."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from recap_core.checkpoints.transformers_configs import check_gemma_config, check_siglip_config
from recap_core.checkpoints.value_match import match_sources
from recap_core.checkpoints.value_places import find_places
from recap_core.checkpoints.value_weights import read_value_weights
from recap_core.config.value import ValueModelConfig
from recap_core.errors import CheckpointError, ConfigError, IncompatibleError
from tests.core.checkpoints import value_layouts as layouts
from tests.core.checkpoints.value_layouts import MODEL


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound weights."""
    root = tmp_path_factory.mktemp("weights")
    siglip, gemma = layouts.siglip(), layouts.gemma()
    siglip.save_pretrained(root / "siglip")
    gemma.save_pretrained(root / "gemma")
    layouts.write_npz(root / "siglip.npz", layouts.big_vision(siglip, scan=False))
    layouts.write_orbax(root / "deepmind", layouts.deepmind(gemma))
    return root


@pytest.fixture
def place(source: Path, tmp_path: Path) -> Path:
    """A copy of them to damage."""
    return shutil.copytree(source, tmp_path / "weights")


def read(path: Path, model: ValueModelConfig = MODEL) -> None:
    match = match_sources(find_places(path, take="all"), model)
    read_value_weights(match, model, seed=0)


def change_npz(file: Path, **changes: np.ndarray | None) -> Path:
    with np.load(file) as stored:
        arrays: dict[str, Any] = dict(stored) | {
            name.replace("__", "/"): array for name, array in changes.items()
        }
    kept = {name: array for name, array in arrays.items() if array is not None}
    return layouts.write_npz(file, kept)


def change_config(directory: Path, **changes: Any) -> Path:  # noqa: ANN401
    file = directory / "config.json"
    settings = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in settings.items() if v != "absent"}))
    return directory


def smaller(**changes: Any) -> ValueModelConfig:  # noqa: ANN401
    gemma = MODEL.gemma.model_copy(update=changes)
    return MODEL.model_copy(update={"gemma": gemma})


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


DAMAGE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "safetensors cut short": (
        lambda place: truncated(place / "siglip" / "model.safetensors").parent,
        "cannot be read as safetensors .* Copy or download it again",
    ),
    "npz cut short": (lambda place: truncated(place / "siglip.npz"), "cannot be read as npz"),
    "pickled objects": (
        lambda place: change_npz(
            place / "siglip.npz", params__img__pos_embedding=np.array([{}], object)
        ),
        "params/img/pos_embedding.npy holds pickled objects, which are never loaded",
    ),
    "a missing array": (
        lambda place: change_npz(
            place / "siglip.npz",
            params__img__Transformer__encoderblock_1__LayerNorm_0__bias=None,
            params__img__Transformer__encoderblock_1__LayerNorm_0__offset=np.zeros(18),
        ),
        r"20 of the 21 leaves .*_1/LayerNorm_0/bias \(closest: .*_0/offset\).*--min-match",
    ),
    "positions of other images": (
        lambda place: change_npz(
            place / "siglip.npz", params__img__pos_embedding=np.zeros((1, 9, 18))
        ),
        r"is \(1, 9, 18\), the model's img/pos_embedding needs \(1, 4, 18\).*set model.image_px",
    ),
    "whole numbers": (
        lambda place: change_npz(
            place / "siglip.npz", params__img__embedding__bias=np.zeros(18, np.int8)
        ),
        "params/img/embedding/bias is int8, not floating-point",
    ),
    "NaN": (
        lambda place: change_npz(
            place / "siglip.npz", params__img__embedding__bias=np.full(18, np.nan)
        ),
        r"not finite: 1 arrays hold NaN or infinity \(18 in params/img/embedding/bias\)",
    ),
    "a file of Orbax is missing": (
        lambda place: _without_data(place / "deepmind"),
        "cannot be read .* a file of it is missing or damaged",
    ),
    "no config.json": (
        lambda place: _without(place / "gemma", "config.json"),
        "config.json is missing; the tensors alone do not say",
    ),
    "neither": (
        lambda place: _other_tensors(place / "other"),
        "holds neither SigLIP nor Gemma 3.*google/siglip2-so400m-patch14-224.*OPENPI_VLM_CKPT_DIR",
    ),
    "nothing": (lambda place: place / "nowhere", "there is no .*nowhere. Weights are never fetch"),
    "an empty directory": (
        lambda place: _made(place / "empty"),
        "holds no weights of a value model: it is empty",
    ),
}


def _without(directory: Path, name: str) -> Path:
    (directory / name).unlink()
    return directory


def _without_data(directory: Path) -> Path:
    for file in directory.rglob("*"):
        if file.is_file() and file.parent.name == "d":
            file.unlink()
    return directory


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _other_tensors(directory: Path) -> Path:
    save_file({"lm.weight": np.zeros(3)}, _made(directory) / "model.safetensors")
    return directory


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_error_that_says_what_to_do(kind: str, place: Path) -> None:
    """Nothing is read past it, and nothing is unpickled."""
    damage, message = DAMAGE[kind]

    with pytest.raises(CheckpointError, match=message):
        read(damage(place))


def test_a_shard_that_is_not_there(place: Path) -> None:
    """An index may not point outside either."""
    gemma = place / "gemma"
    (gemma / "model.safetensors").rename(gemma / "model-00001-of-00002.safetensors")
    for name in ("model-00002-of-00002.safetensors", "../siglip/model.safetensors"):
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": name}}
        (gemma / "model.safetensors.index.json").write_text(json.dumps(index))

        with pytest.raises(CheckpointError, match=f"names {re.escape(name)}, which is not beside"):
            read(gemma)


def test_another_width_names_the_tensor_and_both_shapes(place: Path) -> None:
    """And how many more there are."""
    rule = r"is \(50, 24\), the model's llm/embedder/input_embedding needs \(50, 32\).* more\. Take"

    with pytest.raises(CheckpointError, match=rule):
        read(place / "deepmind", smaller(width=32))


@pytest.mark.parametrize(("part", "depth"), [("siglip.npz", 2), ("deepmind", 3)])
def test_more_layers_are_not_left_out_in_silence(part: str, depth: int, place: Path) -> None:
    """Layer by layer, a deep model would fit a shallow one."""
    siglip = MODEL.siglip.model_copy(update={"depth": 1})
    model = smaller(depth=1).model_copy(update={"siglip": siglip})

    with pytest.raises(CheckpointError, match=f"has {depth} layers, the model 1"):
        read(place / part, model)


def test_a_vocabulary_of_another_size(place: Path) -> None:
    """A few unused rows may be left out, but not a vocabulary."""
    with pytest.raises(CheckpointError, match=r"\(50, 24\).*needs \(64, 24\).*model.vocab_size"):
        read(place / "deepmind", MODEL.model_copy(update={"vocab_size": 64}))


def test_what_config_json_says_is_compared(place: Path) -> None:
    """Both numbers are named: nothing in the shapes says them."""
    siglip = change_config(place / "siglip", num_attention_heads=2)
    with pytest.raises(IncompatibleError, match="num_attention_heads is 2, the model has 3"):
        check_siglip_config(siglip, MODEL)

    changes: list[tuple[dict[str, Any], str]] = [
        ({"sliding_window": 8}, "sliding_window is 8, the model has 4"),
        ({"query_pre_attn_scalar": 16}, "query_pre_attn_scalar is 16, the model has 8"),
        ({"layer_types": ["full_attention"] * 3}, r"is \[0, 1, 2\], the model has \[2\]"),
        (
            {"rope_parameters": {"sliding_attention": {"rope_theta": 5e3}}},
            "rope base of local layers is 5000.0, the model has 10000.0",
        ),
        (
            {"rope_parameters": "absent", "rope_theta": 5e5, "rope_local_base_freq": 1e4},
            "rope base of global layers is 500000.0, the model has 1000000.0",
        ),
        (
            {"rope_parameters": "absent", "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
            "rope scaling is 8.0, the model has 1.0",
        ),
    ]
    original = (place / "gemma" / "config.json").read_text()
    for change, message in changes:
        (place / "gemma" / "config.json").write_text(original)
        with pytest.raises(IncompatibleError, match=message):
            check_gemma_config(change_config(place / "gemma", **change), MODEL)


def test_settings_of_transformers_4_mean_the_same(place: Path) -> None:
    """``rope_theta`` and ``rope_local_base_freq``, a pattern instead of types, towers below."""
    gemma = change_config(
        place / "gemma",
        rope_parameters="absent",
        layer_types="absent",
        rope_theta=1e6,
        rope_local_base_freq=1e4,
        sliding_window_pattern=3,
        _sliding_window_pattern="absent",
    )
    check_gemma_config(gemma, MODEL)
    for directory, tower, check in (
        (gemma, "text_config", check_gemma_config),
        (place / "siglip", "vision_config", check_siglip_config),
    ):
        file = directory / "config.json"
        file.write_text(json.dumps({tower: json.loads(file.read_text())}))
        check(directory, MODEL)


def test_a_value_model_that_computes_more_is_refused(tmp_path: Path) -> None:
    """A part or a leaf that ours lacks would be dropped; its backbones may be taken."""
    params = layouts.random_params(1)
    extra = {"state_proj/kernel": np.zeros((4, 24), np.float32)}
    layouts.write_step(tmp_path, 10, params | extra, params)

    with pytest.raises(CheckpointError, match=r"has 1 leaves that the model lacks \(state_proj"):
        match_sources(find_places(tmp_path, take="all"), MODEL)
    match = match_sources(find_places(tmp_path, take="backbones"), MODEL)
    assert match.report.sources[0].parts == ("img", "llm")
    layouts.write_step(tmp_path / "b", 1, params | {"llm/soft_cap": np.zeros(1)}, params)
    with pytest.raises(CheckpointError, match=r"1 leaves that the model lacks \(llm/soft_cap"):
        match_sources(find_places(tmp_path / "b", take="backbones"), MODEL)


def test_no_averages(tmp_path: Path) -> None:
    """The keys that there are, are named."""
    params = layouts.reference(layouts.random_params(1))
    layouts.write_orbax(tmp_path / "step_00000010", {"params": params, "step": 10})

    with pytest.raises(CheckpointError, match=r"there is no ema_params .* only \['params', 'step'"):
        match_sources(find_places(tmp_path, take="all"), MODEL, ema=True)


def test_two_sources_of_one_part(place: Path) -> None:
    """Which of them counts is a person's choice."""
    places = [*find_places(place / "siglip", take="all")] * 2

    with pytest.raises(ConfigError, match="both hold img"):
        match_sources(places, MODEL)


def test_a_lower_match_draws_what_is_missing(place: Path) -> None:
    """And lists it."""
    name = "params__img__Transformer__encoderblock_1__LayerNorm_0__bias"
    file = change_npz(place / "siglip.npz", **{name: None})

    match = match_sources(find_places(file, take="all"), MODEL, min_match=0.95)

    assert "img/Transformer/encoderblock/LayerNorm_0/bias" in match.fresh
    assert match.report.fresh["img"].num_leaves == 1


def test_a_bundle_without_a_value_model(place: Path) -> None:
    """Its backbones can be taken; the message says how."""
    (place / "vlm").mkdir()
    (place / "deepmind").rename(place / "vlm" / "gemma-3-270m")

    with pytest.raises(CheckpointError, match=r"no complete step_.*--take backbones"):
        find_places(place / "vlm", take="all")
    with pytest.raises(CheckpointError, match=r"no weights in .*siglip2-so400m-patch14-224-jax"):
        find_places(place / "vlm", take="backbones")


def test_loaded_tensors_are_what_was_saved(source: Path) -> None:
    """The fixture is sound: every error above comes from its damage."""
    read(source / "siglip")
    assert load_file(source / "siglip" / "model.safetensors")
