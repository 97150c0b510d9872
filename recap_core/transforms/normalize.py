"""Norm stats and the two normalisations of openpi (OPENPI_CONTRACT §6, §7).

    quantile   2 (x - q01) / (q99 - q01 + 1e-6) - 1        not clipped
    z_score    (x - mean) / (std + 1e-6)

Stats may hold more dims than the robot (released ones are padded to 32): the surplus is ignored.
The way back takes model outputs that are wider than the stats: quantiles leave the further dims as
they are, z-scores treat them as if their mean were 0 and their std 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from recap_core.errors import DataError, IncompatibleError

_EPSILON = 1e-6


class FeatureStats(NamedTuple):
    """Statistics of one feature, per dim, in the feature's own units."""

    mean: Float[np.ndarray, " s"]
    std: Float[np.ndarray, " s"]
    q01: Float[np.ndarray, " s"] | None = None
    q99: Float[np.ndarray, " s"] | None = None

    def first(self, num_dims: int) -> "FeatureStats":
        """The stats of the first ``num_dims`` dims."""
        mean, std, q01, q99 = self
        return FeatureStats(
            mean[:num_dims],
            std[:num_dims],
            None if q01 is None else q01[:num_dims],
            None if q99 is None else q99[:num_dims],
        )


@dataclass(frozen=True)
class NormStats:
    """Statistics of ``state`` and ``actions`` (actions after the delta transform)."""

    features: Mapping[str, FeatureStats]

    @classmethod
    def from_json_dict(cls, data: Mapping[str, Any]) -> "NormStats":
        """Read the content of an openpi ``norm_stats.json``.

        Raises:
            DataError: If a feature lacks mean or std, or its lists differ in length.
        """
        if "norm_stats" not in data:
            raise DataError(
                f"norm stats have no 'norm_stats' key, only {sorted(data)}. "
                "Pass a norm_stats.json in openpi's format."
            )
        return cls({name: _read_feature(name, value) for name, value in data["norm_stats"].items()})

    def to_json_dict(self) -> dict[str, Any]:
        """The content of an openpi ``norm_stats.json``."""
        return {
            "norm_stats": {
                name: {
                    field: None if array is None else array.tolist()
                    for field, array in stats._asdict().items()
                }
                for name, stats in self.features.items()
            }
        }

    def feature(self, name: str) -> FeatureStats:
        """Stats of ``state`` or ``actions``.

        Raises:
            IncompatibleError: If there are none.
        """
        if name not in self.features:
            raise IncompatibleError(
                f"norm stats hold {sorted(self.features)} but not {name!r}. "
                "Compute them again for this dataset."
            )
        return self.features[name]


@dataclass(frozen=True)
class Normalizer:
    """Normalises one feature of a fixed width, and back.

    Build it with :func:`make_normalizer`, which checks the widths.

    Attributes:
        offset: Subtracted before scaling, per dim.
        scale: Divides, per dim; positive unless the stats are broken.
        factor: Multiplies after the division: 2 for quantiles, 1 for z-scores.
        shift: Added after scaling: -1 for quantiles, 0 for z-scores.
        rest_scale: Multiplies dims past the stats on the way back.
    """

    offset: Float[np.ndarray, " s"]
    scale: Float[np.ndarray, " s"]
    factor: float
    shift: float
    rest_scale: float

    def normalize(self, x: Shaped[np.ndarray, "*b s"]) -> Float[np.ndarray, "*b s"]:
        """Map ``x`` from its own units; float64."""
        return (x - self.offset) / self.scale * self.factor + self.shift

    def unnormalize(self, x: Shaped[np.ndarray, "*b d"]) -> Float[np.ndarray, "*b d"]:
        """Map ``x``, at least as wide as the stats, back to its own units; float64."""
        num_dims = len(self.offset)
        own = (x[..., :num_dims] - self.shift) / self.factor * self.scale + self.offset
        return np.concatenate([own, x[..., num_dims:] * self.rest_scale], axis=-1)


def make_normalizer(
    stats: FeatureStats,
    kind: Literal["quantile", "z_score"],
    *,
    num_dims: int,
    std_floor: float = 0.0,
    feature: str = "feature",
) -> Normalizer:
    """A normaliser for the first ``num_dims`` dims of ``stats``.

    Args:
        stats: Statistics of at least ``num_dims`` dims.
        kind: Which normalisation.
        num_dims: Width of the feature.
        std_floor: Smallest std a z-score divides by, in the feature's units.
        feature: Name for the error message.

    Raises:
        IncompatibleError: If the stats have fewer dims, or no quantiles where they are needed.
    """
    if len(stats.mean) < num_dims:
        raise IncompatibleError(
            f"norm stats of {feature} have {len(stats.mean)} dims, the robot has {num_dims}. "
            "Use the stats of this robot or compute them again."
        )
    mean, std, q01, q99 = stats.first(num_dims)
    if kind == "z_score":
        scale = np.maximum(std.astype(np.float64), std_floor) + _EPSILON
        offset = mean.astype(np.float64)
        return Normalizer(offset, scale, factor=1.0, shift=0.0, rest_scale=1 + _EPSILON)
    if q01 is None or q99 is None:
        raise IncompatibleError(
            f"norm stats of {feature} have no quantiles q01 and q99. "
            "Compute them again, or set embodiment.normalization to 'z_score'."
        )
    low = q01.astype(np.float64)
    scale = q99.astype(np.float64) - low + _EPSILON
    return Normalizer(low, scale, factor=2.0, shift=-1.0, rest_scale=1.0)


def pad_dims(x: Float[np.ndarray, "*b s"], num_dims: int) -> Float[np.ndarray, "*b d"]:
    """``x`` as float32 with zeros appended on the last axis, or cut there, to ``num_dims``."""
    padded = np.zeros((*x.shape[:-1], num_dims), np.float32)
    num_kept = min(x.shape[-1], num_dims)
    padded[..., :num_kept] = x[..., :num_kept]
    return padded


def _read_feature(name: str, data: Mapping[str, Any]) -> FeatureStats:
    missing = [field for field in ("mean", "std") if data.get(field) is None]
    if missing:
        raise DataError(f"norm stats of {name!r} lack {' and '.join(missing)}. Compute them again.")
    arrays = {
        field: np.asarray(data[field], np.float64)
        for field in FeatureStats._fields
        if data.get(field) is not None
    }
    lengths = {field: len(array) for field, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"norm stats of {name!r} differ in length: {lengths}. Compute them again.")
    return FeatureStats(**arrays)
