"""Policies as checkpoints of openpi's."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from recap_core.checkpoints.locate import locate_checkpoint
from recap_core.checkpoints.merging import merged_params
from recap_core.checkpoints.openpi_layout import write_openpi_step
from recap_core.checkpoints.params import has_nnx_values, load_params, save_params
from recap_core.checkpoints.policy_checkpoint import (
    norm_stats_path,
    read_policy,
    read_policy_config,
    write_norm_stats,
    write_policy,
    write_settings,
)
from recap_core.checkpoints.trees import flatten, unflatten
from recap_core.errors import CheckpointError, ConfigError
from recap_core.models.lora import merge_adapters
from recap_core.models.parameters import Params
from tests.core.checkpoints import tiny


def _policy(directory: Path, params: Params, model: Any = tiny.FULL) -> Path:  # noqa: ANN401
    directory.mkdir()
    write_policy(directory, params, tiny.policy(model), tiny.norm_stats())
    return directory


def _lora_params() -> Params:
    """As a LoRA training leaves them: what it froze is bfloat16."""
    return unflatten(
        {
            path: leaf.astype(jnp.bfloat16) if "llm" in path and "lora" not in path else leaf
            for path, leaf in flatten(tiny.random_params(tiny.LORA)).items()
        }
    )


def _restored_by_a_manager(experiment: Path, step: int, like: dict[str, Any]) -> dict[str, Any]:
    """What openpi's training restores: the params of a step, through a CheckpointManager."""
    options = ocp.CheckpointManagerOptions(max_to_keep=1, create=False, read_only=True)
    handlers = {"params": ocp.PyTreeCheckpointHandler()}
    with ocp.CheckpointManager(experiment, item_handlers=handlers, options=options) as manager:
        assert list(manager.all_steps()) == [step]
        args = ocp.args.Composite(params=ocp.args.PyTreeRestore(item={"params": like}))
        return manager.restore(step, args=args)["params"]["params"]


@pytest.mark.parametrize("last", ["", "/value"])
def test_a_step_is_what_orbax_manager_restores(tmp_path: Path, last: str) -> None:
    """Step number, parts and leaves, with and without ``value``."""
    params = tiny.random_params()
    policy = _policy(tmp_path / "policy", params)
    step = tmp_path / "experiment" / "29999"
    step.mkdir(parents=True)

    write_openpi_step(policy, step, nnx_values=bool(last))

    flat = {f"{path}{last}": leaf for path, leaf in flatten(params).items()}
    restored = _restored_by_a_manager(tmp_path / "experiment", 29999, unflatten(flat))
    tiny.assert_equal(restored, unflatten(flat))
    assert (step / "assets" / "local" / "towels" / "norm_stats.json").is_file()
    described = json.loads((step / "_CHECKPOINT_METADATA").read_text())
    assert described["item_handlers"].keys() == {"params", "assets"}
    assert locate_checkpoint(tmp_path / "experiment").step == 29999


@pytest.mark.parametrize("stored", [True, False])
def test_merged_parameters_keep_the_layout(tmp_path: Path, *, stored: bool) -> None:
    """Unless another one is asked for, leaves lie under ``value`` where the policy's do."""
    policy, step = tmp_path / "policy", tmp_path / "0"
    for directory in (policy, step):
        directory.mkdir()
    save_params(policy / "params", _lora_params(), nnx_values=stored)
    write_settings(policy, tiny.policy(tiny.LORA), tiny.norm_stats())

    write_openpi_step(policy, step, merge_lora=True)

    assert has_nnx_values(step / "params") is stored


def test_parameters_are_copied_unread_where_they_are_right_already(tmp_path: Path) -> None:
    """Byte for byte, by default and if the same layout is asked for; as files of their own."""
    policy = _policy(tmp_path / "policy", tiny.random_params())
    for file in (policy / "params").rglob("*"):
        if file.is_file():
            file.chmod(0o444)
    for number, asked in enumerate((None, False)):
        step = tmp_path / str(number)
        step.mkdir()
        write_openpi_step(policy, step, nnx_values=asked)

        for file in (policy / "params").rglob("*"):
            copy = step / "params" / file.relative_to(policy / "params")
            if file.is_file():
                assert copy.read_bytes() == file.read_bytes()
                assert copy.stat().st_nlink == 1
                assert copy.stat().st_mode & 0o200


def test_a_written_step_is_a_policy_again(tmp_path: Path) -> None:
    """Our configuration travels along, so an export can be served as it is."""
    policy = _policy(tmp_path / "policy", _lora_params(), tiny.LORA)
    step = tmp_path / "0"
    step.mkdir()

    assert write_openpi_step(policy, step, nnx_values=True) == tiny.policy(tiny.LORA)

    files = read_policy(step)
    assert files.config == tiny.policy(tiny.LORA)
    assert files.norm_stats.to_json_dict() == tiny.norm_stats().to_json_dict()
    tiny.assert_equal(load_params(files.params), _lora_params())


def test_merged_adapters_act_like_the_adapted_policy(tmp_path: Path) -> None:
    """A full float32 policy with the same actions, although frozen weights were bfloat16."""
    params = _lora_params()
    policy = _policy(tmp_path / "policy", params, tiny.LORA)
    step = tmp_path / "7"
    step.mkdir()

    config = write_openpi_step(policy, step, merge_lora=True)

    merged = load_params(step / "params", tiny.shapes(tiny.FULL))
    assert config.model == read_policy_config(step).model == tiny.FULL
    assert {leaf.dtype for leaf in flatten(merged).values()} == {np.dtype(np.float32)}
    exact = tiny.actions(tiny.LORA, params)
    assert np.abs(exact).max() > 0.1
    np.testing.assert_allclose(tiny.actions(tiny.FULL, merged), exact, atol=1e-4)


def test_merging_layer_by_layer_is_merging_at_once(tmp_path: Path) -> None:
    """The same numbers as the model's own rule over all layers."""
    params = tiny.random_params(tiny.LORA)
    save_params(tmp_path / "params", params)

    merged, _ = merged_params(tmp_path / "params", tiny.policy(tiny.LORA))

    at_once = merge_adapters(params, tiny.LORA.vlm, tiny.LORA.expert)
    for path, leaf in flatten(at_once).items():
        np.testing.assert_allclose(flatten(merged)[path], leaf, atol=1e-6, err_msg=path)


def test_nothing_to_merge_is_an_error(tmp_path: Path) -> None:
    """A full policy has no adapters."""
    policy = _policy(tmp_path / "policy", tiny.random_params())

    with pytest.raises(ConfigError, match="no LoRA adapters"):
        write_openpi_step(policy, tmp_path / "1", merge_lora=True)


def test_a_base_policy_has_no_assets(tmp_path: Path) -> None:
    """It can be written and located, and says what it lacks when it is to act."""
    write_policy(tmp_path, tiny.random_params(), tiny.policy(), None)
    step = tmp_path / "3"
    step.mkdir()

    write_openpi_step(tmp_path, step)

    assert not (step / "assets").exists()
    assert not has_nnx_values(step / "params")
    with pytest.raises(CheckpointError, match="it is a base policy"):
        read_policy(step)


@pytest.mark.parametrize(
    "asset_id",
    ["..", "../x", "a/../../b", "/etc", "", "a//b", "a/./b", "a\\..\\b", "x\0y", "a/"],
)
def test_asset_ids_stay_inside_the_checkpoint(tmp_path: Path, asset_id: str) -> None:
    """Reading and writing refuse every way out."""
    with pytest.raises(CheckpointError, match="no name inside of a checkpoint"):
        norm_stats_path(tmp_path, asset_id)
    with pytest.raises(CheckpointError, match="no name inside of a checkpoint"):
        write_norm_stats(tmp_path, asset_id, tiny.norm_stats())
    assert list(tmp_path.iterdir()) == []


def test_nested_asset_ids_are_allowed(tmp_path: Path) -> None:
    """Openpi's own are often ``<owner>/<dataset>``."""
    assert norm_stats_path(tmp_path, "local/my-set").is_relative_to(tmp_path / "assets" / "local")
