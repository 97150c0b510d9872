"""Parameter trees by path: flattening, and what differs between two of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

type Tree = Mapping[str, Any]
"""Nested mapping from names to arrays (or anything with a ``shape``)."""


def flatten(tree: Tree) -> dict[str, Any]:
    """``{"a": {"b": x}}`` as ``{"a/b": x}``, in the order of the tree."""
    flat: dict[str, Any] = {}
    for name, node in tree.items():
        if isinstance(node, Mapping):
            flat.update({f"{name}/{path}": leaf for path, leaf in flatten(node).items()})
        else:
            flat[name] = node
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a/b": x}`` as ``{"a": {"b": x}}``."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


class TreeReport(NamedTuple):
    """How a tree that was found differs from the one that was expected; paths are sorted."""

    missing: tuple[str, ...]
    """Expected, not found."""
    extra: tuple[str, ...]
    """Found, not expected."""
    misshapen: tuple[str, ...]
    """In both, with different shapes: ``path: expected (2, 3), found (3, 2)``."""
    num_matched: int

    @property
    def is_match(self) -> bool:
        """Whether both trees have the same leaves with the same shapes."""
        return not (self.missing or self.extra or self.misshapen)

    def describe(self, *, max_paths: int = 5) -> str:
        """One line with the count of every kind of difference and its first paths."""
        kinds = {"missing": self.missing, "extra": self.extra, "wrong shape": self.misshapen}
        parts = [
            f"{len(paths)} {kind} ({_first(paths, max_paths)})"
            for kind, paths in kinds.items()
            if paths
        ]
        return "; ".join([*parts, f"{self.num_matched} leaves match"])


def _first(paths: tuple[str, ...], max_paths: int) -> str:
    rest = len(paths) - max_paths
    return ", ".join(paths[:max_paths]) + (f", and {rest} more" if rest > 0 else "")


def compare_trees(expected: Tree, found: Tree) -> TreeReport:
    """Compare the paths and shapes of two trees; values and dtypes do not matter."""
    want, have = flatten(expected), flatten(found)
    both = sorted(want.keys() & have.keys())
    misshapen = [
        f"{path}: expected {np.shape(want[path])}, found {np.shape(have[path])}"
        for path in both
        if np.shape(want[path]) != np.shape(have[path])
    ]
    return TreeReport(
        missing=tuple(sorted(want.keys() - have.keys())),
        extra=tuple(sorted(have.keys() - want.keys())),
        misshapen=tuple(misshapen),
        num_matched=len(both) - len(misshapen),
    )
