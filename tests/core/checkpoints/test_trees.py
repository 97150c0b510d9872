"""Comparing parameter trees by path."""

import numpy as np

from recap_core.checkpoints.trees import compare_trees, flatten, unflatten


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def test_flatten_joins_paths_and_unflatten_splits_them() -> None:
    """A nested tree and its flat form are each other's inverse."""
    tree = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}

    assert flatten(tree) == {"a/b": 1, "a/c/d": 2, "e": 3}
    assert unflatten(flatten(tree)) == tree


def test_equal_trees_match() -> None:
    """Same paths and shapes match, whatever the values and dtypes."""
    report = compare_trees({"a": {"b": _zeros(2)}}, {"a": {"b": np.ones(2, np.int32)}})

    assert report.is_match
    assert report.describe() == "1 leaves match"


def test_every_kind_of_difference_is_named() -> None:
    """Missing, extra and misshapen leaves are listed by path, and counted."""
    expected = {"a": _zeros(2), "b": _zeros(2, 3), "c": {"d": _zeros()}}
    found = {"a": _zeros(2), "b": _zeros(3, 2), "c": {"e": _zeros()}}

    report = compare_trees(expected, found)

    assert report.missing == ("c/d",)
    assert report.extra == ("c/e",)
    assert report.misshapen == ("b: expected (2, 3), found (3, 2)",)
    assert report.num_matched == 1
    assert report.describe() == (
        "1 missing (c/d); 1 extra (c/e); 1 wrong shape (b: expected (2, 3), found (3, 2)); "
        "1 leaves match"
    )


def test_a_long_list_of_paths_is_cut() -> None:
    """Only the first paths are spelled out; the rest is a number."""
    report = compare_trees({str(i): _zeros() for i in range(9)}, {})

    assert report.describe(max_paths=2) == "9 missing (0, 1, and 7 more); 0 leaves match"
