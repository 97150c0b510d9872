"""From a project's name and what a form changes to the settings of one run."""

from collections.abc import Mapping
from typing import Any

from flows.forms import Choice
from recap_core.config.environment import recap_home
from recap_core.config.flows import ProjectConfig
from recap_core.config.overlay import overlaid
from recap_core.errors import ConfigError
from recap_core.lineage.project_files import load_project
from tasks.tokenizers import following_tokenizers


def run_settings(
    project: str, *choices: Choice | Mapping[str, Any], settings: Mapping[str, Any]
) -> ProjectConfig:
    """The project's saved settings, with the choices of a form laid over them, then ``settings``.

    Tokenizers count as they are on this machine now, not when the project was saved.

    Args:
        project: ``project/robot``, or only the project where it has one robot.
        choices: Groups of a form, or changes in the shape of the settings.
        settings: What a person wrote in the shape of ``recap.yaml``; wins over the choices.

    Raises:
        ConfigError: If there is no such project, a key is unknown, or a value is not allowed.
    """
    saved = config = load_project(recap_home(), project)
    for key in ("project", "robot"):
        if settings.get(key, getattr(config, key)) != getattr(config, key):
            raise ConfigError(
                f"settings.{key} is {settings[key]!r}, but the run is of {project}: choose another "
                "project in the form, and leave it out of the settings"
            )
    for choice in choices:
        config = overlaid(config, choice.changes(config) if isinstance(choice, Choice) else choice)
    return following_tokenizers(saved, overlaid(config, settings))


def project_of_run(parameters: Mapping[str, Any]) -> str:
    """The project of a run as part of its name: ``demo-sim-aloha``."""
    return str(parameters.get("project", "project")).replace("/", "-")
