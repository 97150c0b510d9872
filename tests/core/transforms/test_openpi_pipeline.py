"""openpi's whole way from a client's message to actions, and from a dataset to targets."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.embodiments import ALOHA_EMBODIMENT, LIBERO_EMBODIMENT, YAM_EMBODIMENT
from recap_core.config.policy import PolicyConfig, PromptConfig
from recap_core.config.sizes import PI0, PI05
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.transforms.normalize import NormStats
from recap_core.transforms.policy_transform import PolicyTransform
from recap_core.transforms.wire import WireReader
from tests.golden.openpi import draws

GOLDEN = Path(__file__).parents[2] / "golden" / "openpi"
CASES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "pipeline.json").read_text())
SEED = 2027


class Pipeline(NamedTuple):
    """Ours, for one case."""

    config: PolicyConfig
    transform: PolicyTransform
    state_feature: str


def pipeline(name: str) -> Pipeline:
    """What the case's settings mean to us."""
    case = CASES[name]
    is_aloha, is_pi05 = case["kind"] == "aloha", case["pi05"]
    standard = ALOHA_EMBODIMENT if case["adapt"] else YAM_EMBODIMENT
    embodiment = standard if is_aloha else LIBERO_EMBODIMENT
    changes = {
        "normalization": "quantile" if case["quantile"] else "z_score",
        "default_prompt": case["default_prompt"],
        "delta_mask": ((6, -1, 6, -1) if is_aloha else (6, -1)) if case["delta"] else (),
    }
    embodiment = EmbodimentConfig.model_validate(embodiment.model_dump() | changes)
    size = (PI05 if is_pi05 else PI0).model_dump()
    size |= {"max_token_len": case["max_token_len"], "vocab_size": 512}
    if is_pi05 and case["discrete"] is False:
        size["state_input"] = "none"
    prompt = PromptConfig(
        tokenizer=str(GOLDEN / "tokenizer" / "tiny_spm.model"), advantage=case["adv"] is not None
    )
    config = PolicyConfig.model_validate(
        {"model": size, "embodiment": embodiment.model_dump(), "prompt": prompt.model_dump()}
    )
    tokenizer = PromptTokenizer(prompt, case["max_token_len"], config.model.state_input)
    stats = NormStats.from_json_dict({"norm_stats": case["norm_stats"]})
    transform = PolicyTransform.for_policy(config, stats, tokenizer)
    return Pipeline(config, transform, embodiment.state[0])


def raw(name: str, what: str, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """State or actions in the robot's units; grippers of an Aloha are positive."""
    values = draws.normals(SEED, f"{name}/{what}", shape, scale)
    if CASES[name]["kind"] == "aloha":
        values[..., [6, 13]] = np.abs(values[..., [6, 13]])
    return values


def message(name: str) -> dict[str, Any]:
    """What openpi's client sends in this case."""
    case = CASES[name]
    is_aloha = case["kind"] == "aloha"
    images = {}
    for camera, (height, width) in case["cameras"].items():
        image = draws.picture(SEED, f"{name}/{camera}", height, width)
        if case["image"] == "float32":
            image = image.astype(np.float32) / np.float32(255)
        images[camera] = np.moveaxis(image, -1, 0) if case["layout"] == "chw" else image
    state = raw(name, "raw_state", (14 if is_aloha else 8,), case["state_scale"])
    if is_aloha:
        sent: dict[str, Any] = {"images": images, "state": state}
    else:
        sent = {f"observation/{camera}": image for camera, image in images.items()}
        sent["observation/state"] = state
    if case["prompt"] is not None:
        sent["prompt"] = case["prompt"]
    if case["adv"] not in (None, "absent"):
        sent["adv_ind"] = case["adv"]
    return sent


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "pipeline.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", CASES)
def test_a_message_becomes_the_inputs_that_openpi_makes(
    name: str, golden: dict[str, np.ndarray]
) -> None:
    """Images and masks bit for bit, tokens exactly, the state to 1e-5."""
    case, ours = CASES[name], pipeline(name)

    observation = WireReader(ours.config).observation(message(name))
    batch = {key: x[None] for key, x in observation.items() if isinstance(x, np.ndarray)}
    prompt = observation.get("prompt", ours.config.embodiment.default_prompt)
    inputs = ours.transform.inputs(batch, [prompt], [observation.get("adv_ind")])

    np.testing.assert_array_equal(inputs.tokens[0], golden[f"{name}/tokens"])
    num_tokens = golden[f"{name}/num_tokens"]
    np.testing.assert_array_equal(
        inputs.token_mask[0], np.arange(case["max_token_len"]) < num_tokens
    )
    np.testing.assert_allclose(inputs.state[0], golden[f"{name}/model_state"], atol=1e-5)
    assert {view: bool(mask[0]) for view, mask in inputs.image_masks.items()} == case["image_mask"]
    for view, image in inputs.images.items():
        pixels = np.rint((np.asarray(image[0]) + 1) * 127.5).astype(np.uint8)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == case["image_sha256"][view], view


@pytest.mark.parametrize("name", CASES)
def test_actions_become_the_targets_that_openpi_makes(
    name: str, golden: dict[str, np.ndarray]
) -> None:
    """Adapted, relative, normalised and padded, to 1e-5."""
    ours = pipeline(name)
    is_aloha = CASES[name]["kind"] == "aloha"
    state = message(name)["state" if is_aloha else "observation/state"]
    actions = raw(name, "raw_actions", (8, 14 if is_aloha else 7), 0.7)

    targets = ours.transform.actions(actions[None], state[None])

    np.testing.assert_allclose(targets[0], golden[f"{name}/targets"], atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_model_actions_become_the_actions_that_openpi_returns(
    name: str, golden: dict[str, np.ndarray]
) -> None:
    """Unnormalised, absolute, cut to the robot and adapted back, to 1e-5."""
    ours = pipeline(name)
    state = message(name)["state" if CASES[name]["kind"] == "aloha" else "observation/state"]

    actions = ours.transform.outputs(golden[f"{name}/model_actions"][None], state[None])

    np.testing.assert_allclose(actions[0], golden[f"{name}/actions"], atol=1e-5)
