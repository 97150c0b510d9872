"""Artifacts that do not exist yet, for plans."""

from types import NoneType, UnionType
from typing import Any, Literal, TypeAliasType, Union, get_args, get_origin

from annotated_types import Ge
from pydantic.fields import FieldInfo

from recap_core.config.base import Config
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.keys import each_input
from recap_core.stages.registry import StageCall

_MARK = "planned-"
_OPTIMISTIC = {"healthy": True, "verdict": "promoted"}
"""What a plan goes on with: the way on which everything turns out well."""


def is_planned(artifact: Artifact) -> bool:
    """Whether an artifact is a placeholder."""
    return artifact.id.startswith(_MARK)


def placeholder(call: StageCall, key: str, *, name: str) -> Artifact:
    """What a stage would make; its numbers are those of settings and inputs, or guesses.

    Args:
        call: The stage with its settings and inputs.
        key: Its key under the inputs' ids, placeholders' included.
        name: Of the artifact.
    """
    kind = call.stage.produces
    inputs = [artifact for _, artifact in each_input(call.inputs)]
    known = {
        field: _value(field, info, call.config, inputs)
        for field, info in kind.model_fields.items()
        if field not in Artifact.model_fields
    }
    return kind.model_construct(
        id=_MARK + key[: 32 - len(_MARK)],
        name=name,
        digest="",
        parents=tuple(artifact.id for artifact in inputs),
        **known,
    )


def _value(field: str, info: FieldInfo, config: Config, inputs: list[Artifact]) -> Any:  # noqa: ANN401 - of any field
    if field in _OPTIMISTIC:
        return _OPTIMISTIC[field]
    if field == "num_successes":
        field = "num_episodes"
    for source in (config, getattr(config, "train", None)):
        if hasattr(source, field):
            return getattr(source, field)
    if not info.is_required():
        return info.get_default(call_default_factory=True)
    theirs = [getattr(artifact, field) for artifact in inputs if hasattr(artifact, field)]
    return theirs[0] if theirs else _guess(info)


def _guess(info: FieldInfo) -> Any:  # noqa: ANN401 - of any field
    least = next((rule.ge for rule in info.metadata if isinstance(rule, Ge)), 0)
    kind = info.annotation
    if isinstance(kind, TypeAliasType):
        kind = kind.__value__
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if get_origin(kind) in {Union, UnionType} and NoneType in get_args(kind):
        return None
    guesses: dict[object, object] = {int: least, float: least, bool: True, str: ""}
    return guesses.get(kind, ())
