"""Normalisation statistics of a dataset."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_core.config.dataset import NormStatsConfig
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.data.aloha_space import actions_to_pi, state_to_pi
from recap_core.data.frames import read_frames
from recap_core.data.norm_stats import (
    check_dimensions,
    compute_norm_stats,
    load_norm_stats,
    narrow_dimensions,
    write_norm_stats,
)
from recap_core.data.running_stats import FeatureNorm
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.errors import ColumnError, DataError

DELTA = EmbodimentConfig(delta_mask=(6, -1, 6, -1))


def every_vector(dataset: Path, *, horizon: int) -> np.ndarray:
    """The delta action chunks of all frames, by loops."""
    table = read_frames(dataset)
    actions, state = table.column("action"), table.column("observation.state")
    moving = np.array(([True] * 6 + [False]) * 2)
    result = []
    for start, end in zip(table.episode_starts, table.episode_ends, strict=True):
        for t in range(start, end):
            for k in range(horizon):
                action = actions[min(t + k, end - 1)].copy()
                action[moving] -= state[t, moving]
                result.append(action)
    return np.array(result)


def test_exact_statistics_of_delta_chunks(dataset: Path) -> None:
    """Against the plain definition: padding repeats, joints relative, grippers absolute."""
    config = NormStatsConfig(embodiment=DELTA, action_horizon=4, quantiles="exact")

    actions = compute_norm_stats(dataset, config)["actions"]

    vectors = every_vector(dataset, horizon=4).astype(np.float64)
    np.testing.assert_allclose(actions.mean, vectors.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(actions.std, vectors.std(axis=0), atol=1e-6)
    for field, share in (("q01", 0.01), ("q99", 0.99)):
        expected = np.quantile(vectors, share, axis=0, method="inverted_cdf")
        np.testing.assert_array_equal(getattr(actions, field), expected)


def test_the_histogram_is_within_a_bin_of_the_exact_numbers(dataset: Path) -> None:
    """Same data, openpi's approximation: mean and std agree, quantiles to range / 5000."""
    exact = compute_norm_stats(
        dataset, NormStatsConfig(embodiment=DELTA, action_horizon=4, quantiles="exact")
    )
    approximate = compute_norm_stats(dataset, NormStatsConfig(embodiment=DELTA, action_horizon=4))

    vectors = every_vector(dataset, horizon=4)
    bins = (vectors.max(axis=0) - vectors.min(axis=0)) / 5000
    actions, expected = approximate["actions"], exact["actions"]
    np.testing.assert_allclose(actions.mean, expected.mean, rtol=1e-5)
    np.testing.assert_allclose(actions.std, expected.std, rtol=1e-3, atol=1e-3)
    assert (np.abs(actions.q01 - expected.q01) <= 1.01 * bins + 1e-7).all()
    assert (np.abs(actions.q99 - expected.q99) <= 1.01 * bins + 1e-7).all()


def test_state_features_are_put_side_by_side(dataset: Path) -> None:
    """Every frame counts once; no camera is opened."""
    embodiment = EmbodimentConfig(state=("observation.state", "observation.environment_state"))

    stats = compute_norm_stats(dataset, NormStatsConfig(embodiment=embodiment))["state"]

    table = read_frames(dataset)
    state = np.hstack([table.column(name) for name in embodiment.state])
    assert stats.mean.shape == (17,)
    np.testing.assert_allclose(stats.mean, state.mean(axis=0), rtol=1e-5)


def test_videos_are_not_needed(dataset: Path, tmp_path: Path) -> None:
    """Statistics come from parquet alone."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    shutil.rmtree(root / "videos")

    assert compute_norm_stats(root, NormStatsConfig())["state"].mean.shape == (14,)


def test_the_file_is_openpis(tmp_path: Path, dataset: Path) -> None:
    """{"norm_stats": {feature: {mean, std, q01, q99}}}, and it reads back."""
    stats = compute_norm_stats(dataset, NormStatsConfig())
    path = tmp_path / "norm_stats.json"

    write_norm_stats(path, stats)

    content = json.loads(path.read_text())["norm_stats"]
    assert set(content) == {"state", "actions"}
    assert set(content["state"]) == {"mean", "std", "q01", "q99"}
    loaded = load_norm_stats(path)
    np.testing.assert_allclose(loaded["actions"].q99, stats["actions"].q99)


@pytest.mark.parametrize("content", ["{", "{}", '{"norm_stats": {"state": {"mean": [1]}}}'])
def test_a_broken_file_is_one_error(tmp_path: Path, content: str) -> None:
    """It names the file and the next step."""
    path = tmp_path / "norm_stats.json"
    path.write_text(content)

    with pytest.raises(DataError, match=r"norm_stats.json cannot be read .* Compute them again"):
        load_norm_stats(path)


def test_a_mask_that_does_not_fit_is_refused(dataset: Path) -> None:
    """15 dims described, 14 there."""
    config = NormStatsConfig(embodiment=EmbodimentConfig(delta_mask=(15,)))

    with pytest.raises(ColumnError, match="describes 15 action dims, but the dataset has 14"):
        compute_norm_stats(dataset, config)


def test_a_standard_aloha_is_adapted_first(dataset: Path) -> None:
    """State and actions are converted, and only then made relative, as openpi trains."""
    embodiment = EmbodimentConfig(adapt_to_pi=True, delta_mask=(6, -1, 6, -1))
    config = NormStatsConfig(embodiment=embodiment, action_horizon=1, quantiles="exact")

    stats = compute_norm_stats(dataset, config)

    table = read_frames(dataset)
    state = state_to_pi(table.column("observation.state"))
    actions = actions_to_pi(table.column("action"))
    moving = np.array(([True] * 6 + [False]) * 2)
    actions[:, moving] -= state[:, moving]
    np.testing.assert_allclose(stats["state"].mean, state.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(stats["actions"].mean, actions.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(stats["actions"].std, actions.std(axis=0), atol=1e-7)


@pytest.mark.parametrize(
    ("embodiment", "message"),
    [
        ({"state_dim": 28}, r"observation.state of .* have 14 dims, but this robot's state has 28"),
        ({"action_dim": 7}, r"action of .* have 14 dims, but this robot's action has 7"),
        (
            {"adapt_to_pi": True, "state": ["observation.state", "observation.environment_state"]},
            "have 17 dims, but this robot's state has 14",
        ),
    ],
)
def test_a_dataset_of_another_robot_is_refused(
    dataset: Path, embodiment: dict, message: str
) -> None:
    """Both widths are named, before anything is read."""
    config = NormStatsConfig.model_validate({"embodiment": embodiment})

    with pytest.raises(ColumnError, match=message):
        compute_norm_stats(dataset, config)


def test_a_value_that_is_not_a_number_is_refused(dataset: Path, tmp_path: Path) -> None:
    """NaN would spoil every statistic."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    values = read_frames(dataset).column("action").copy()
    values[17, 3] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 14)
    pq.write_table(table.set_column(table.schema.get_field_index("action"), "action", column), path)

    with pytest.raises(ColumnError, match=r"action\[17\] of .* \(1 of 46 frames"):
        compute_norm_stats(root, NormStatsConfig())


def test_dimensions_that_hardly_move_are_named() -> None:
    """A stuck gripper and a dimension that is NaN are warned of; one that moves is not."""
    stats = {
        "state": FeatureNorm(
            mean=np.zeros(3),
            std=np.array([0.3, 1e-5, 0.2]),
            q01=np.array([-1.0, 0.5, np.nan]),
            q99=np.array([1.0, 0.5004, 1.0]),
        )
    }

    warnings = narrow_dimensions(stats, {"state": ["left_joint_0", "left_gripper_0"]})

    assert len(warnings) == 2
    assert warnings[0].startswith("state[1] (left_gripper_0) hardly moves: q99 - q01 is 0.0004")
    assert warnings[1].startswith("state[2] hardly moves: q99 - q01 is nan")


def test_statistics_of_another_robot_are_refused(dataset: Path) -> None:
    """By the feature and both numbers of dimensions."""
    stats = compute_norm_stats(dataset, NormStatsConfig())

    check_dimensions(stats, {"state": 14, "actions": 14}, where="file")
    with pytest.raises(ColumnError, match="file has 14 dimensions of state, but the dataset has 7"):
        check_dimensions(stats, {"state": 7}, where="file")
    with pytest.raises(ColumnError, match=r"padded, set the embodiment's state_dim"):
        check_dimensions(stats, {"state": 7}, where="file")
    check_dimensions(stats, {"state": 7}, where="file", may_be_padded=True)
    with pytest.raises(ColumnError, match="14 dimensions of state, but the dataset has 15"):
        check_dimensions(stats, {"state": 15}, where="file", may_be_padded=True)
    with pytest.raises(ColumnError, match="no statistics of 'actions'"):
        check_dimensions({"state": stats["state"]}, {"actions": 14}, where="file")


@pytest.mark.parametrize("quantiles", ["exact", "openpi_histogram"])
def test_constant_dimensions_and_short_data(tmp_path: Path, quantiles: str) -> None:
    """Two frames are enough, also with the whole chunk past the end; a constant has std 0."""
    write_synthetic_dataset(
        tmp_path / "out", [SyntheticEpisode(length=2)], SyntheticRobot(cameras=(), num_joints=1)
    )
    config = NormStatsConfig.model_validate({"quantiles": quantiles, "action_horizon": 1})

    stats = compute_norm_stats(tmp_path / "out", config)

    np.testing.assert_allclose(stats["state"].mean[0], 0.005, atol=1e-6)
    np.testing.assert_allclose(stats["state"].q01, 0.1 * np.arange(4), atol=1e-5)
