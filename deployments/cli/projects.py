"""The settings that a command works with."""

from collections.abc import Sequence
from pathlib import Path

from deployments.cli.configuration import load_project
from deployments.cli.options import Preset
from deployments.cli.resolution import check_cameras, with_tokenizer_digests
from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import plumbing_project, tiny_project


def project(
    preset: Preset, seed: int, *, cameras: bool, file: Path | None, overrides: Sequence[str]
) -> ProjectConfig:
    """Settings of a project.

    Raises:
        ConfigError: If a setting is unknown or not allowed, or a camera is missing.
    """
    make = plumbing_project if preset is Preset.plumbing else tiny_project
    settings = load_project(make(seed, cameras=cameras), file=file, overrides=overrides)
    check_cameras(settings)
    return with_tokenizer_digests(settings)


def demo_project(
    preset: Preset, seed: int, *, cameras: bool, overrides: Sequence[str]
) -> ProjectConfig:
    """The demo's settings; every seed is a project of its own, so that refs do not mix."""
    settings = project(preset, seed, cameras=cameras, file=None, overrides=overrides)
    if not seed:
        return settings
    return settings.model_copy(update={"project": f"{settings.project}-seed-{seed}"})
