"""What a stage's child process is told, as JSON, and how it is read back.

Artifacts go by id, settings by the name of their class with their values. The child accepts only
what the stage's own signature names, so a job cannot make it import anything else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAliasType, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, JsonValue

from recap_core.config.base import Config
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.store import Store
from tasks.stage_functions import stage_function


class Job(BaseModel):
    """One call of a stage function."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stage: str
    home: Path
    """``RECAP_HOME``."""
    arguments: dict[str, JsonValue]
    """By parameter of the stage function, as :func:`encode` writes them."""
    is_refreshed: bool = False
    """Whether the stage executes although its result exists."""
    cancel_grace_s: float
    """How long the process may go on after its parent died, to write a checkpoint."""
    parent_pid: int


def encode(value: object) -> JsonValue:
    """An argument of a stage function as JSON.

    Raises:
        ConfigError: If it is of a kind that stages do not take.
    """
    match value:
        case None | str() | bool() | int() | float():
            return value
        case Artifact():
            return {"artifact": value.id}
        case Config():
            return {"config": _class_name(type(value)), "values": value.model_dump(mode="json")}
        case Path():
            return {"path": str(value.absolute())}
        case Mapping():
            return {"roles": {str(role): encode(item) for role, item in value.items()}}
        case list() | tuple():
            return [encode(item) for item in value]
        case _:
            raise ConfigError(
                f"a {type(value).__name__} cannot be passed to a stage's process; "
                "pass an artifact, a config, a path or a plain value"
            )


def decode_arguments(job: Job, store: Store) -> dict[str, Any]:
    """The arguments of a job's stage function.

    Raises:
        ArtifactNotFoundError: If an input is gone.
        ConfigError: If the stage does not take what the job holds.
    """
    hints = get_type_hints(stage_function(job.stage))
    unknown = sorted(set(job.arguments) - set(hints))
    if unknown:
        raise ConfigError(f"stage {job.stage!r} takes no {unknown[0]!r}")
    return {
        name: _decode(value, store, f"{name} of stage {job.stage!r}", hints[name])
        for name, value in job.arguments.items()
    }


def _decode(value: JsonValue, store: Store, what: str, hint: object) -> Any:  # noqa: ANN401 - any argument
    if isinstance(value, list):
        return tuple(_decode(item, store, what, hint) for item in value)
    if not isinstance(value, dict):
        return value
    match value:
        case {"artifact": str(identity)}:
            return store.get(identity)
        case {"path": str(path)}:
            return Path(path)
        case {"roles": dict(roles)}:
            return {role: _decode(item, store, what, hint) for role, item in roles.items()}
        case {"config": str(name), "values": dict(values)}:
            for config in _configs(hint):
                if _class_name(config) == name:
                    return config.model_validate(values)
            raise ConfigError(f"{what} cannot be a {name}")
        case _:
            raise ConfigError(f"{what} is {value!r}, which is no argument of a stage")


def _configs(hint: object) -> list[type[Config]]:
    """Classes of settings that a type hint names."""
    if isinstance(hint, TypeAliasType):
        return _configs(hint.__value__)
    if isinstance(hint, type) and issubclass(hint, Config):
        return [hint]
    return [config for part in get_args(hint) for config in _configs(part)]


def _class_name(config: type[Config]) -> str:
    return f"{config.__module__}.{config.__qualname__}"
