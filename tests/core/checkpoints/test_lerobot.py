"""Lerobot's pi0.5 in and out, against lerobot itself."""

import json
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.checkpoints.lerobot_names import UNUSED_HEAD, VISION, canonical_name
from recap_core.checkpoints.lerobot_policy import (
    check_exchangeable,
    check_lerobot_config,
    read_lerobot_norm_stats,
    write_lerobot_settings,
)
from recap_core.checkpoints.lerobot_weights import (
    WEIGHTS,
    read_lerobot_params,
    weight_files,
    write_lerobot_params,
)
from recap_core.checkpoints.safetensors_files import Described, read_tensors, write_tensors
from recap_core.errors import CheckpointError, ConfigError, IncompatibleError
from recap_core.transforms.delta import delta_mask, to_delta
from recap_core.transforms.normalize import make_normalizer
from tests.core.checkpoints import lerobot_peer, tiny

torch: Any = lerobot_peer.torch
ATOL = 1e-4


@pytest.fixture(scope="module", autouse=True)
def small_lerobot() -> Generator[None]:
    """Lerobot builds tiny modules in this file."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        lerobot_peer.shrink(monkeypatch)
        yield


@pytest.fixture(scope="module")
def peer() -> Any:  # noqa: ANN401
    """Lerobot's policy with random parameters."""
    return lerobot_peer.build(seed=1)


@pytest.fixture(scope="module")
def saved(peer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ANN401
    """The same, as lerobot saves it."""
    path = tmp_path_factory.mktemp("lerobot")
    peer.save_pretrained(path)
    return path


def _rewritten(saved: Path, path: Path, rename: Any, **changes: Any) -> Path:  # noqa: ANN401
    """A copy of the weights under other names; a change of None leaves a tensor out."""
    path.mkdir()
    tensors = {canonical_name(k): t.read() for k, t in read_tensors(saved / WEIGHTS).items()}
    tensors = {k: v for k, v in (tensors | changes).items() if v is not None}
    described = {
        rename(name): Described(array.shape, array.dtype, lambda array=array: array)
        for name, array in tensors.items()
    }
    write_tensors(path / WEIGHTS, described)
    return path


def test_an_imported_policy_computes_what_lerobot_computes(saved: Path, peer: Any) -> None:  # noqa: ANN401
    """Loss of every step, and denoised actions, float32: images, masks and tokens alike."""
    params = read_lerobot_params(saved, tiny.FULL)

    rng = np.random.default_rng(3)
    chunk = rng.standard_normal((2, 5, 6), np.float32)
    time = np.array([0.3, 0.8], np.float32)
    theirs = lerobot_peer.loss(peer, chunk, tiny.noise(), time)
    assert theirs.min() > 0.01
    np.testing.assert_allclose(tiny.loss(tiny.FULL, params, chunk, time), theirs, atol=ATOL)
    acted = lerobot_peer.actions(peer)
    assert np.abs(acted).max() > 0.5
    np.testing.assert_allclose(tiny.actions(tiny.FULL, params), acted, atol=ATOL)


def test_an_exported_policy_acts_in_lerobot(tmp_path: Path) -> None:
    """It loads strictly, by lerobot's own loader, and does the same."""
    params = tiny.random_params(seed=5)
    level = lerobot_peer.has_vision_model_level()
    write_lerobot_params(tmp_path / WEIGHTS, params, tiny.FULL, vision_model=level)
    write_lerobot_settings(tmp_path, tiny.policy(), tiny.norm_stats(), dtype="float32")

    policy = lerobot_peer.modeling_pi05.PI05Policy.from_pretrained(tmp_path, strict=True)
    policy.eval()

    # from_pretrained only prints what goes wrong: compare what it loaded.
    stored = read_tensors(tmp_path / WEIGHTS)
    state = policy.state_dict()
    assert stored.keys() == state.keys()
    for name, tensor in stored.items():
        np.testing.assert_array_equal(state[name].numpy(), tensor.read(), err_msg=name)
    assert policy.config.chunk_size == tiny.FULL.action_horizon
    assert (policy.config.output_features or {})["action"].shape == (4,)
    np.testing.assert_allclose(
        lerobot_peer.actions(policy), tiny.actions(tiny.FULL, params), atol=ATOL
    )


def test_lerobots_file_survives_a_round_trip(saved: Path, tmp_path: Path) -> None:
    """Bit for bit, but for the language head of the expert, which nothing reads."""
    level = lerobot_peer.has_vision_model_level()
    params = read_lerobot_params(saved, tiny.FULL)
    write_lerobot_params(tmp_path / WEIGHTS, params, tiny.FULL, vision_model=level)

    before, after = read_tensors(saved / WEIGHTS), read_tensors(tmp_path / WEIGHTS)
    assert before.keys() == after.keys()
    head = f"model.{UNUSED_HEAD}"
    tied = "model.paligemma_with_expert.paligemma.lm_head.weight"
    for name in before.keys() - {head, tied}:  # this peer's tied matrices were drawn apart
        assert after[name].dtype == before[name].dtype
        np.testing.assert_array_equal(after[name].read(), before[name].read(), err_msg=name)
    assert not after[head].read().any()
    np.testing.assert_array_equal(
        after[tied].read(), params["PaliGemma"]["llm"]["embedder"]["input_embedding"]
    )


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_our_parameters_survive_a_round_trip(tmp_path: Path, dtype: Any) -> None:  # noqa: ANN401
    """Bit for bit, in either type, under either version's names."""
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), tiny.random_params())
    for name, level in (("old", True), ("new", False)):
        (tmp_path / name).mkdir()
        write_lerobot_params(tmp_path / name / WEIGHTS, params, tiny.FULL, vision_model=level)

        tiny.assert_equal(read_lerobot_params(tmp_path / name, tiny.FULL), params)
        names = read_tensors(tmp_path / name / WEIGHTS)
        assert any("vision_model." in tensor for tensor in names) == level


def test_openpis_pytorch_names_are_read(saved: Path, tmp_path: Path) -> None:
    """No ``model.`` in front, a ``vision_model`` level, the embedding only as the head."""
    embedding = "paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
    head = "paligemma_with_expert.paligemma.lm_head.weight"
    table = read_tensors(saved / WEIGHTS)[f"model.{embedding}"].read()
    other = _rewritten(
        saved,
        tmp_path / "other",
        lambda name: name.replace(f"{VISION}.", f"{VISION}.vision_model."),
        **{embedding: None, head: table},
    )

    tiny.assert_equal(read_lerobot_params(other, tiny.FULL), read_lerobot_params(saved, tiny.FULL))


def test_padded_rows_of_the_vocabulary_are_left_out(
    saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Hugging Face's PaliGemma has 64 rows more than openpi's; fewer rows are an error."""
    embedding = "paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
    table = read_tensors(saved / WEIGHTS)[f"model.{embedding}"].read()
    padded = np.concatenate([table, np.ones((3, table.shape[1]), np.float32)])
    longer = _rewritten(saved, tmp_path / "longer", str, **{embedding: padded})
    shorter = _rewritten(saved, tmp_path / "shorter", str, **{embedding: table[:-1]})

    with caplog.at_level(logging.WARNING):
        params = read_lerobot_params(longer, tiny.FULL)

    assert "rows 64 to 66 of the embedding are left out" in caplog.text
    np.testing.assert_array_equal(params["PaliGemma"]["llm"]["embedder"]["input_embedding"], table)
    with pytest.raises(CheckpointError, match=r"expected \(64, 16\), found \(63, 16\)"):
        read_lerobot_params(shorter, tiny.FULL)


def test_what_does_not_fit_is_named(saved: Path, tmp_path: Path) -> None:
    """Missing and extra tensors, by count and name, before anything is read."""
    odd = _rewritten(
        saved,
        tmp_path / "odd",
        str,
        **{"time_mlp_in.bias": None, "state_proj.weight": np.ones((2, 2), np.float32)},
    )

    with pytest.raises(
        CheckpointError, match=r"1 missing \(time_mlp_in.bias\); 1 extra \(state_proj.weight\)"
    ):
        read_lerobot_params(odd, tiny.FULL)


def test_weights_in_several_files(saved: Path, tmp_path: Path) -> None:
    """As the index says; one that names a file elsewhere is refused."""
    tensors = list(read_tensors(saved / WEIGHTS).items())
    parts = {"model-1.safetensors": tensors[::2], "model-2.safetensors": tensors[1::2]}
    for name, part in parts.items():
        write_tensors(tmp_path / name, {k: Described(t.shape, t.dtype, t.read) for k, t in part})
    index = tmp_path / "model.safetensors.index.json"
    where = {tensor: name for name, part in parts.items() for tensor, _ in part}
    index.write_text(json.dumps({"weight_map": where}))

    tiny.assert_equal(
        read_lerobot_params(tmp_path, tiny.FULL), read_lerobot_params(saved, tiny.FULL)
    )
    index.write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    with pytest.raises(CheckpointError, match="not beside it"):
        weight_files(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_input": "concat", "state_input": "continuous"}, "time_input must be 'adarms'"),
        ({"vlm": tiny.LORA.vlm}, "no LoRA"),
    ],
)
def test_only_a_full_pi05_is_exchanged(change: dict[str, Any], message: str) -> None:
    """Lerobot's pi0.5 has no adapters in its tree and no continuous state."""
    with pytest.raises(ConfigError, match=message):
        check_exchangeable(tiny.policy(tiny.FULL.model_copy(update=change)))


@pytest.mark.parametrize(
    ("change", "embodiment", "message"),
    [
        ({"type": "act"}, {}, "only 'pi05' can be imported"),
        ({}, {"normalization": "z_score"}, "Set embodiment.normalization"),
        ({"use_relative_actions": True}, {}, "Set embodiment.delta_mask"),
        (
            {"input_features": {
                name: {"type": "VISUAL", "shape": [3, 28, 28]} for name in ("wrist", "head")
            }},
            {"views": {"base_0_rgb": "head", "left_wrist_0_rgb": "wrist"}},
            "in the order",
        ),
    ],
)  # fmt: skip
def test_settings_that_contradict_are_refused(
    saved: Path, tmp_path: Path, change: dict[str, Any], embodiment: dict[str, Any], message: str
) -> None:
    """Another kind, normalisation, action space or camera order would act wrongly in silence."""
    settings = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | change))
    views = tuple(embodiment.get("views", tiny.FULL.views))
    policy = tiny.policy(tiny.FULL.model_copy(update={"views": views}), **embodiment)

    with pytest.raises((CheckpointError, IncompatibleError), match=message):
        check_lerobot_config(tmp_path, policy)


def test_another_horizon_is_only_a_warning(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A base policy is often trained on with another one."""
    policy = tiny.policy(tiny.FULL.model_copy(update={"action_horizon": 9}))

    with caplog.at_level(logging.WARNING):
        check_lerobot_config(saved, policy)

    assert "chunk_size 5; the configuration has model.action_horizon 9" in caplog.text


def test_a_policy_without_statistics_is_a_base(saved: Path) -> None:
    """Weights alone bring no norm stats."""
    assert read_lerobot_norm_stats(saved) is None


@pytest.fixture
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Lerobot's own pipelines, loaded from what we write for a robot with a delta mask."""
    from lerobot.processor import PolicyProcessorPipeline, TokenizerProcessorStep

    monkeypatch.setattr(TokenizerProcessorStep, "__post_init__", lambda _: None)  # would download
    policy = tiny.policy(tiny.FULL, delta_mask=(3, -1))
    write_lerobot_settings(tmp_path, policy, tiny.norm_stats(), dtype="float32")
    assert read_lerobot_norm_stats(tmp_path) is not None
    load = PolicyProcessorPipeline.from_pretrained
    before = load(tmp_path, config_filename="policy_preprocessor.json")
    return before, load(tmp_path, config_filename="policy_postprocessor.json")


def test_lerobots_pipelines_normalise_as_we_do(pipelines: tuple[Any, Any], tmp_path: Path) -> None:
    """State, and actions relative to it in all dims but the gripper; and back."""
    from lerobot.lerobot_types import TransitionKey

    rng = np.random.default_rng(0)
    state = rng.uniform(-1, 1, (1, 4)).astype(np.float32)
    actions = rng.uniform(-1, 1, (1, 5, 4)).astype(np.float32)
    before, after = pipelines
    transition: Any = {
        TransitionKey.OBSERVATION: {"observation.state": torch.from_numpy(state)},
        TransitionKey.ACTION: torch.from_numpy(actions),
    }
    for step in before.steps[2:4]:  # relative actions, normalisation
        transition = step(transition)

    stats = read_lerobot_norm_stats(tmp_path)
    assert stats is not None
    assert stats.to_json_dict() == tiny.norm_stats().to_json_dict()
    by_us = make_normalizer(stats.feature("state"), "quantile", num_dims=4)
    found = transition[TransitionKey.OBSERVATION]["observation.state"].numpy()
    np.testing.assert_allclose(found, by_us.normalize(state), atol=1e-5)
    relative = to_delta(actions, state, delta_mask((3, -1)))
    by_us = make_normalizer(stats.feature("actions"), "quantile", num_dims=4)
    normalised = transition[TransitionKey.ACTION]
    np.testing.assert_allclose(normalised.numpy(), by_us.normalize(relative), atol=1e-5)
    assert after.steps[0].__class__.__name__ == "UnnormalizerProcessorStep"
    back = after.steps[0]({TransitionKey.ACTION: normalised})[TransitionKey.ACTION]
    np.testing.assert_allclose(back.numpy(), relative, atol=1e-5)
