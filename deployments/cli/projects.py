"""The settings that a command works with."""

from collections.abc import Sequence
from pathlib import Path

from deployments.cli.configuration import load_settings
from deployments.cli.options import Preset
from deployments.cli.resolution import check_cameras, with_tokenizer_digests
from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import full_size_project, plumbing_project, tiny_project
from recap_core.errors import ConfigError


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


def demo_project(
    preset: Preset, seed: int, *, cameras: bool, overrides: Sequence[str]
) -> ProjectConfig:
    """The demo's settings; every seed is a project of its own, so that refs do not mix."""
    settings = project(preset, seed, cameras=cameras, file=None, overrides=overrides)
    if not seed:
        return settings
    return settings.model_copy(update={"project": f"{settings.project}-seed-{seed}"})
