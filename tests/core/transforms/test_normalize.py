import json
from pathlib import Path

import numpy as np
import pytest

from recap_core.errors import DataError, IncompatibleError
from recap_core.transforms.normalize import (
    FeatureStats,
    NormStats,
    make_normalizer,
    pad_dims,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "openpi" / "normalize.npz"

HAND = FeatureStats(
    mean=np.array([1.0, 2.0]),
    std=np.array([2.0, 0.001]),
    q01=np.array([0.0, -1.0]),
    q99=np.array([4.0, 3.0]),
)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("ours", "theirs"), [("z_score", "zscore"), ("quantile", "quantile")])
def test_both_normalisations_are_openpis(
    golden: dict[str, np.ndarray], ours: str, theirs: str
) -> None:
    """Full and short inputs, and the way back, equal openpi's numbers."""
    stats = FeatureStats(*(golden[f"gauss4/{name}"] for name in FeatureStats._fields))
    for feature, num_short in (("state", 2), ("actions", 3)):
        x = golden[f"apply/{feature}_in"]
        full = make_normalizer(stats, ours, num_dims=4)  # pyright: ignore[reportArgumentType]
        short = make_normalizer(stats, ours, num_dims=num_short)  # pyright: ignore[reportArgumentType]
        expected, expected_short = (
            golden[f"apply/{theirs}/{name}"] for name in (feature, f"short_{feature}")
        )
        np.testing.assert_allclose(full.normalize(x), expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(short.normalize(x[:, :num_short]), expected_short, rtol=1e-6)
        np.testing.assert_allclose(full.unnormalize(expected), x, rtol=1e-6, atol=1e-6)
        padded = golden[f"apply/{theirs}/padded_in_actions"]
        back = golden[f"apply/{theirs}/padded_unnormalized_actions"]
        assert padded.shape[-1] > 4
        np.testing.assert_allclose(full.unnormalize(padded), back, rtol=1e-6, atol=1e-6)


def test_quantiles_by_hand() -> None:
    """q01 goes to -1, the middle to 0, and values outside are not clipped."""
    x = np.array([[0.0, 1.0], [2.0, 3.0], [8.0, -1.0]])

    normalized = make_normalizer(HAND, "quantile", num_dims=2).normalize(x)

    np.testing.assert_allclose(normalized, [[-1, 0], [0, 1], [3, -1]], atol=1e-5)


def test_the_std_floor_limits_a_z_score() -> None:
    """A dim that hardly moved is divided by the floor, the other by its own std."""
    normalizer = make_normalizer(HAND, "z_score", num_dims=2, std_floor=0.5)

    np.testing.assert_allclose(normalizer.normalize(np.array([3.0, 3.0])), [1, 2], atol=1e-5)
    np.testing.assert_allclose(normalizer.unnormalize(np.array([1.0, 2.0])), [3, 3], atol=1e-5)


def test_too_narrow_stats_name_the_feature() -> None:
    """Stats of another robot are refused with both widths."""
    with pytest.raises(IncompatibleError, match="actions have 2 dims, the robot has 3"):
        make_normalizer(HAND, "z_score", num_dims=3, feature="actions")


def test_quantiles_must_be_there_where_they_are_needed() -> None:
    """z-score stats without quantiles cannot serve a quantile policy."""
    with pytest.raises(IncompatibleError, match="q01"):
        make_normalizer(HAND._replace(q01=None), "quantile", num_dims=2)


def test_stats_survive_their_file_format() -> None:
    """To openpi's JSON and back, with and without quantiles, and without the optional keys."""
    stats = NormStats({"state": HAND, "actions": HAND._replace(q01=None, q99=None)})

    again = NormStats.from_json_dict(json.loads(json.dumps(stats.to_json_dict())))

    np.testing.assert_array_equal(again.feature("state").q99, [4, 3])
    assert again.to_json_dict() == stats.to_json_dict()
    assert again.feature("actions").q01 is None
    bare = NormStats.from_json_dict({"norm_stats": {"state": {"mean": [0], "std": [1]}}})
    assert bare.feature("state").q01 is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"state": {}}, "norm_stats"),
        ({"norm_stats": {"state": {"mean": [0.0]}}}, "std"),
        ({"norm_stats": {"state": {"mean": [0.0], "std": [1.0, 2.0]}}}, "differ in length"),
    ],
)
def test_broken_files_are_refused(data: dict, message: str) -> None:
    """The message says what is wrong with the file."""
    with pytest.raises(DataError, match=message):
        NormStats.from_json_dict(data)


def test_a_missing_feature_is_named() -> None:
    """Stats without actions cannot serve a policy."""
    with pytest.raises(IncompatibleError, match="actions"):
        NormStats({"state": HAND}).feature("actions")


def test_padding_appends_zeros_or_cuts() -> None:
    """Two dims to four and to one, always float32."""
    x = np.array([[1.0, 2.0]])

    np.testing.assert_array_equal(pad_dims(x, 4), np.array([[1, 2, 0, 0]], np.float32))
    np.testing.assert_array_equal(pad_dims(x, 1), [[1]])
    assert pad_dims(x, 4).dtype == np.float32
