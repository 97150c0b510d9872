"""Directories of policies and value models."""

from pathlib import Path

import numpy as np
import pytest

from recap_core.checkpoints.params import load_params
from recap_core.checkpoints.policy_checkpoint import read_policy, write_policy
from recap_core.checkpoints.value_checkpoint import (
    ValueSettings,
    read_value_model,
    write_value_model,
)
from recap_core.config.labels import TargetConfig
from recap_core.config.presets import policy_config, value_config
from recap_core.errors import CheckpointError
from recap_core.transforms.normalize import FeatureStats, NormStats

PARAMS = {"action_in_proj": {"kernel": np.ones((2, 3), np.float32)}}


def _norm_stats() -> NormStats:
    ones = np.ones(2)
    stats = FeatureStats(mean=0 * ones, std=ones, q01=-ones, q99=2 * ones)
    return NormStats({"state": stats, "actions": stats})


def test_a_policy_survives_a_round_trip(tmp_path: Path) -> None:
    """Configuration, norm stats and parameters come back, in openpi's places."""
    write_policy(tmp_path, PARAMS, policy_config("tiny"), _norm_stats())

    files = read_policy(tmp_path)

    assert files.config == policy_config("tiny")
    assert files.norm_stats.to_json_dict() == _norm_stats().to_json_dict()
    np.testing.assert_array_equal(
        load_params(files.params)["action_in_proj"]["kernel"], np.ones((2, 3))
    )
    assert (tmp_path / "params" / "_METADATA").is_file()
    assert (tmp_path / "assets" / "sim-aloha" / "norm_stats.json").is_file()


def test_a_value_model_survives_a_round_trip(tmp_path: Path) -> None:
    """Raw and averaged parameters, configuration, target rule and norm stats come back."""
    targets = TargetConfig(rule="fixed_limit", limit_frames=40)
    averaged = {"action_in_proj": {"kernel": np.zeros((2, 3), np.float32)}}
    settings = ValueSettings(value_config("tiny"), targets, _norm_stats())
    write_value_model(tmp_path, PARAMS, averaged, settings)

    files = read_value_model(tmp_path)

    assert files.settings.config == value_config("tiny")
    assert files.settings.targets == targets
    assert files.ema_params is not None
    assert load_params(files.params)["action_in_proj"]["kernel"].max() == 1
    assert load_params(files.ema_params)["action_in_proj"]["kernel"].max() == 0


def test_a_value_model_without_average(tmp_path: Path) -> None:
    """Training without EMA leaves no averaged parameters."""
    settings = ValueSettings(value_config("tiny"), TargetConfig(), _norm_stats())
    write_value_model(tmp_path, PARAMS, None, settings)

    assert read_value_model(tmp_path).ema_params is None


def test_an_incomplete_policy_names_the_missing_file(tmp_path: Path) -> None:
    """A directory without a configuration is no policy."""
    with pytest.raises(CheckpointError, match=r"policy\.json is missing"):
        read_policy(tmp_path)


def test_an_invalid_configuration_is_an_error(tmp_path: Path) -> None:
    """A policy of another version of the configuration is refused, not guessed at."""
    (tmp_path / "policy.json").write_text('{"modell": 1}')

    with pytest.raises(CheckpointError, match="no policy configuration"):
        read_policy(tmp_path)


def test_norm_stats_of_another_asset_are_named(tmp_path: Path) -> None:
    """The assets that there are, are listed."""
    write_policy(tmp_path, PARAMS, policy_config("tiny"), _norm_stats())
    (tmp_path / "assets" / "sim-aloha").rename(tmp_path / "assets" / "trossen")

    with pytest.raises(CheckpointError, match=r"asset 'sim-aloha', only of \['trossen'\]"):
        read_policy(tmp_path)
