"""Settings of the store's projects: ``projects/<project>/<robot>.yaml``.

A flow is told a project's name and reads its settings here, so that a form needs no more than what
a run changes. Whoever sets a project up (``recap up``, ``iterate``, ``loop``, ``demo``) saves the
settings complete and resolved: nothing in them depends on the machine or on a default any more.
"""

from pathlib import Path
from typing import Any

import yaml

from recap_core.config.flows import ProjectConfig
from recap_core.config.overlay import read_settings, validated
from recap_core.errors import ArtifactError, ConfigError
from recap_core.lineage.files import replace_file
from recap_core.lineage.layout import Layout, check_name

_HEAD = """\
# Settings of {name}, as its flows use them. Written by recap; replaced when it is set up
# again: by --config, --preset, --seed or --no-cameras, by 'recap up -s', and by 'recap demo'.
"""


def project_name(config: ProjectConfig) -> str:
    """``<project>/<robot>``, as flows and commands call it."""
    return f"{config.project}/{config.robot}"


def save_project(home: Path, config: ProjectConfig) -> Path:
    """Keep a project's settings; the file is replaced in one step, and only if they differ.

    Args:
        home: ``RECAP_HOME``.
        config: Complete settings.

    Returns:
        The file.
    """
    path = _path(home, config.project, config.robot)
    text = _HEAD.format(name=project_name(config)) + yaml.safe_dump(
        config.model_dump(mode="json"), sort_keys=False, allow_unicode=True
    )
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        replace_file(path, text, temporary=Layout(home).new_file())
    return path


def load_project(home: Path, name: str) -> ProjectConfig:
    """The settings of a project.

    Args:
        home: ``RECAP_HOME``.
        name: ``project/robot``, or only the project where it has one robot.

    Raises:
        ConfigError: If there is no such project, it has several robots, or its file is damaged.
    """
    project, _, robot = name.partition("/")
    robot = robot or _only_robot(home, project)
    path = _path(home, project, robot)
    if not path.is_file():
        raise ConfigError(_unknown(home, name))
    settings: dict[str, Any] = read_settings(path)
    config = validated(ProjectConfig, settings, of=f"{path} cannot be used")
    if (config.project, config.robot) != (project, robot):
        raise ConfigError(
            f"{path} cannot be used: it says that it belongs to {project_name(config)}. "
            "Correct its project and robot, or remove it and run 'recap up' again"
        )
    return config


def list_projects(home: Path) -> list[str]:
    """Every project that has settings, as ``project/robot``, in order."""
    files = sorted((home / "projects").glob("*/*.yaml"))
    return [f"{file.parent.name}/{file.stem}" for file in files if not file.name.startswith(".")]


def _only_robot(home: Path, project: str) -> str:
    robots = [name for name in list_projects(home) if name.startswith(f"{project}/")]
    if not robots:
        raise ConfigError(_unknown(home, project))
    if len(robots) > 1:
        raise ConfigError(
            f"project {project!r} has several robots; name one of {', '.join(robots)}"
        )
    return robots[0].removeprefix(f"{project}/")


def _path(home: Path, project: str, robot: str) -> Path:
    try:
        check_name(project, "project")
        check_name(robot, "robot")
    except ArtifactError as error:
        raise ConfigError(
            f"{project}/{robot} names no project: {error}. Write 'project/robot', such as "
            "'demo/sim-aloha'"
        ) from None
    return home / "projects" / project / f"{robot}.yaml"


def _unknown(home: Path, name: str) -> str:
    known = ", ".join(list_projects(home)) or "none yet"
    return (
        f"no project {name!r} in {home}; there are: {known}. "
        "Make one with: recap up --config recap.yaml"
    )
