"""Stage keys: what a result depends on, as one hash.

Two runs share a key exactly if they are the same stage in the same version with the same semantic
settings and the same input artifacts. Paths, run ids and runtime settings are never part of it.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from recap_core.config.base import Config, RuntimeConfig
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import Artifact

type Inputs = Mapping[str, Artifact | Sequence[Artifact] | None]
"""Input artifacts by role; None stands for an optional input that is not used."""


@dataclass(frozen=True)
class Stage[A: Artifact]:
    """One kind of work that produces one kind of artifact."""

    id: str
    """Name, for instance ``label_advantage``; part of the key."""
    version: int
    """Raised whenever the code changes results or a default changes; part of the key."""
    produces: type[A]

    @property
    def kind(self) -> str:
        """What it produces, as manifests call it."""
        return self.produces.model_fields["kind"].default


def canonical_json(value: object) -> str:
    """The one JSON text of a plain value: keys sorted, no blanks, ASCII only.

    Args:
        value: Nested mappings with string keys, lists, tuples, strings, booleans, integers, finite
            floats and None.

    Raises:
        ConfigError: If a value is of another type, a key is no string, or a float is not finite.
    """
    _check_plain(value, "value")
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def stage_key(stage: Stage[Any], config: Config, inputs: Inputs) -> str:
    """blake2b-128, in hexadecimal, of stage id, version, semantic config and input ids.

    Raises:
        ConfigError: If ``config`` is a runtime config, or holds values that are not plain JSON.
    """
    if isinstance(config, RuntimeConfig):
        raise ConfigError(
            f"{type(config).__name__} is a runtime config and cannot be part of the key of stage "
            f"{stage.id!r}; pass the stage's semantic config"
        )
    content = {
        "stage": stage.id,
        "version": stage.version,
        "config": config.semantic(),
        "inputs": input_ids(inputs),
    }
    return _blake2b(canonical_json(content))


def artifact_id(kind: str, key: str, digest: str) -> str:
    """Identity of an artifact: blake2b-128 of its kind, stage key and content digest.

    A copy that is byte-equal to its source is still its own node, because its stage key differs.
    """
    return _blake2b(canonical_json([kind, key, digest]))


def input_ids(inputs: Inputs) -> dict[str, str | list[str]]:
    """Ids by role; a sequence gives a list in its order, None and empty ones are left out."""
    ids: dict[str, str | list[str]] = {}
    for role, value in inputs.items():
        if isinstance(value, Artifact):
            ids[role] = value.id
        elif value:
            ids[role] = [artifact.id for artifact in value]
    return ids


def each_input(inputs: Inputs) -> list[tuple[str, Artifact]]:
    """(role, artifact) of every input, sequences flattened."""
    pairs: list[tuple[str, Artifact]] = []
    for role, value in inputs.items():
        if isinstance(value, Artifact):
            pairs.append((role, value))
        elif value is not None:
            pairs.extend((role, artifact) for artifact in value)
    return pairs


def _blake2b(text: str) -> str:
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def _check_plain(value: object, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[Any, object]", value).items():
            if not isinstance(key, str):
                raise ConfigError(f"key {key!r} of {where} is {type(key).__name__}, not a string")
            _check_plain(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(cast("Sequence[object]", value)):
            _check_plain(item, f"{where}[{i}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}; a key can only hold finite numbers")
    elif value is not None and not isinstance(value, str | int):
        raise ConfigError(
            f"{where} is {type(value).__name__}, which JSON cannot hold; "
            "dump the config with mode='json'"
        )


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {key: _plain(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("Sequence[object]", value)]
    return value
