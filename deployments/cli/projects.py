"""The project that a command works with, and what the command changes for its own run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deployments.cli.configuration import load_settings
from deployments.cli.options import Preset
from deployments.cli.resolution import check_cameras, with_tokenizer_digests, without_cameras
from recap_core.config.environment import recap_home
from recap_core.config.flows import ProjectConfig
from recap_core.config.overlay import changes_between
from recap_core.config.presets import full_size_project, plumbing_project, tiny_project
from recap_core.errors import ConfigError
from recap_core.lineage.project_files import list_projects, load_project, project_name

_IDENTITY = ("project", "robot")


class SetUp(NamedTuple):
    """Options that set a project up; each that is not None or true does."""

    preset: Preset | None = None
    seed: int | None = None
    cameras: bool = True
    file: Path | None = None

    def is_asked(self) -> bool:
        """Whether any of them is given."""
        return self != SetUp()

    def build(self, overrides: Sequence[str]) -> ProjectConfig:
        """Settings of the project.

        Raises:
            ConfigError: If a setting is unknown or not allowed, or a camera is missing.
        """
        return project(
            self.preset or Preset.tiny,
            self.seed or 0,
            cameras=self.cameras,
            file=self.file,
            overrides=overrides,
        )


class ChosenProject(NamedTuple):
    """A project, and the settings of one run of it."""

    saved: ProjectConfig
    """What its other runs use."""
    settings: ProjectConfig
    """What this run uses."""
    is_new: bool
    """Whether ``saved`` is still to be saved."""

    @property
    def name(self) -> str:
        """``project/robot``."""
        return project_name(self.saved)

    @property
    def changes(self) -> dict[str, Any]:
        """What this run changes, as the flows take it."""
        old, new = (one.model_dump(mode="json") for one in (self.saved, self.settings))
        return changes_between(old, new)

    def without_cameras(self) -> "ChosenProject":
        """The same, recording no images; the settings of a saved project stay as they are."""
        saved = without_cameras(self.saved) if self.is_new else self.saved
        return ChosenProject(saved, without_cameras(self.settings), self.is_new)


def choose(set_up: SetUp, *, saved: str | None, overrides: Sequence[str]) -> ChosenProject:
    """The project of a command that runs one round or several.

    Args:
        set_up: With any of them, or where no project is saved, one is set up.
        saved: Name of a saved project; None: the only one.
        overrides: ``KEY=VALUE`` of this run only; only ``project`` and ``robot`` are saved, too.

    Raises:
        ConfigError: If options contradict each other, several projects are saved and none is named,
            or a setting is unknown or not allowed.
    """
    if saved is not None and set_up.is_asked():
        raise ConfigError(
            f"--project {saved} runs a project as it was saved; leave out --config, --preset, "
            "--seed and --no-cameras, or leave out --project to set one up"
        )
    if saved is None and (set_up.is_asked() or not list_projects(recap_home())):
        identity = [one for one in overrides if _key(one) in _IDENTITY]
        settings = set_up.build(overrides)
        return ChosenProject(set_up.build(identity), settings, is_new=True)
    config = load_project(recap_home(), saved or _only_project())
    return ChosenProject(config, with_overrides(config, overrides), is_new=False)


def with_overrides(config: ProjectConfig, overrides: Sequence[str]) -> ProjectConfig:
    """A saved project's settings with ``KEY=VALUE`` laid over them; tokenizers as they are now.

    Raises:
        ConfigError: If a setting is unknown or not allowed, or a camera is missing.
    """
    for one in overrides:
        if _key(one) in _IDENTITY:
            raise ConfigError(
                f"-s {one} would make another project of {project_name(config)}: choose a saved "
                "one with --project, or set one up with --config or --preset"
            )
    from recap_core.stages.tokenizers import following_tokenizers

    settings = load_settings(config, file=None, overrides=overrides)
    if overrides:
        check_cameras(settings)
    return following_tokenizers(config, settings)


def _only_project() -> str:
    known = list_projects(recap_home())
    if len(known) > 1:
        raise ConfigError(
            f"{recap_home()} has several projects; name one with --project: {', '.join(known)}"
        )
    return known[0]


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def project(
    preset: Preset, seed: int, *, cameras: bool, file: Path | None, overrides: Sequence[str]
) -> ProjectConfig:
    """Settings of a project.

    Raises:
        ConfigError: If a setting is unknown or not allowed, or a camera is missing.
    """
    settings = load_settings(_preset(preset, seed, cameras), file=file, overrides=overrides)
    check_cameras(settings)
    return with_tokenizer_digests(settings)


def _preset(preset: Preset, seed: int, cameras: bool) -> ProjectConfig:  # noqa: FBT001 - of one caller
    if preset in (Preset.single_gpu, Preset.paper):
        if not cameras:
            raise ConfigError(
                f"preset {preset} looks through three cameras, so --no-cameras is not possible; "
                "use --preset tiny"
            )
        return full_size_project(preset.value, seed)
    make = plumbing_project if preset is Preset.plumbing else tiny_project
    return make(seed, cameras=cameras)


def demo_project(set_up: SetUp, overrides: Sequence[str]) -> ChosenProject:
    """The demo's settings; every seed is a project of its own, so that refs do not mix."""
    saved, settings = set_up.build(()), set_up.build(overrides)
    if set_up.seed:
        name = {"project": f"{saved.project}-seed-{set_up.seed}"}
        saved, settings = (one.model_copy(update=name) for one in (saved, settings))
    return ChosenProject(saved, settings, is_new=True)
