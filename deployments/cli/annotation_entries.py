"""Annotations from options or from a YAML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from recap_core.config.annotations import AnnotateConfig, EpisodeAnnotation
from recap_core.errors import ConfigError


def annotations(
    file: Path | None,
    episodes: Sequence[str],
    *,
    outcome: str | None,
    exclude: bool | None,
    note: str | None,
) -> AnnotateConfig:
    """What ``recap annotate`` was told, by options or by a file.

    Raises:
        ConfigError: If it was told nothing, both, or something that is not allowed.
    """
    if (file is None) == (not episodes):
        raise ConfigError("name episodes with --episode, or give a list of them with --file")
    if file is not None:
        return _read_annotations(file)
    if outcome is None and exclude is None and note is None:
        raise ConfigError("say what is known: --outcome success|failure, --exclude, or --note TEXT")
    entry = {"outcome": outcome, "excluded": exclude, "note": note}
    return _checked([{"episode": name, **entry} for name in episodes], "--outcome")


def _read_annotations(file: Path) -> AnnotateConfig:
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"annotations file {file} cannot be read ({error})") from error
    if not isinstance(entries, list):
        raise ConfigError(f"{file} must hold a list of episodes, such as: - {{episode: '3'}}")
    return _checked(entries, str(file))


def _checked(entries: Sequence[Mapping[str, Any]], where: str) -> AnnotateConfig:
    try:
        parsed = tuple(EpisodeAnnotation.model_validate(entry) for entry in entries)
        return AnnotateConfig(episodes=parsed)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "episodes"
        raise ConfigError(f"{where}: {field}: {first['msg']} (got {first['input']!r})") from error
