"""What the machine decides, written into the settings before any stage key is computed."""

from collections.abc import Sequence
from typing import Any

from recap_core.config.flows import ProjectConfig
from recap_core.config.policy import PolicyConfig, PromptConfig
from recap_core.config.robot import SimRobotConfig
from recap_core.config.stages import TrainPolicyConfig, TrainValueConfig
from recap_core.config.value import ValueConfig
from recap_core.errors import ConfigError, RenderingError


def check_cameras(project: ProjectConfig) -> None:
    """Raise ConfigError unless every camera that a model looks through is recorded.

    Policies look through the cameras of evaluations too.
    """
    bootstrap, iteration = project.bootstrap, project.iteration
    demonstrations = ("bootstrap.demonstrations", bootstrap.demonstrations.robot)
    rollouts = ("iteration.collect", iteration.collect.robot)
    evaluations = (
        ("bootstrap.evaluation", bootstrap.evaluation.robot),
        ("iteration.evaluation", iteration.evaluation.robot),
    )
    everything = (demonstrations, rollouts, *evaluations)
    _check_views("bootstrap.sft", bootstrap.sft.policy, everything)
    _check_views("iteration.finetune", iteration.finetune.policy, everything)
    _check_views("iteration.stage3", iteration.stage3.policy, everything)
    _check_views("iteration.value", iteration.value.value, (demonstrations, rollouts))
    if iteration.control is not None:
        _check_views("iteration.control", iteration.control.policy, everything)


def _check_views(
    where: str,
    model: PolicyConfig | ValueConfig,
    robots: Sequence[tuple[str, SimRobotConfig]],
) -> None:
    for view in model.model.views:
        feature = model.embodiment.views.get(view)
        for name, robot in robots:
            cameras = [f"observation.images.{camera.name}" for camera in robot.cameras]
            if feature not in cameras:
                raise ConfigError(
                    f"{where} looks through {view}, which is {feature or 'no camera'}, but "
                    f"{name}.robot.cameras has {', '.join(cameras) or 'none'}: add the camera, or "
                    f"change {where}'s views"
                )


def uses_cameras(project: ProjectConfig) -> bool:
    """Whether anything in the project renders images."""
    sessions = (
        project.bootstrap.demonstrations,
        project.bootstrap.evaluation,
        project.iteration.collect,
        project.iteration.evaluation,
    )
    return any(session.robot.cameras for session in sessions)


def rendering_problem() -> str | None:
    """Why no camera can be rendered on this machine, and what to install; None if they can."""
    from recap_core.sim.rendering import probe_rendering

    try:
        probe_rendering()
    except RenderingError as error:
        return str(error)
    return None


def without_cameras(project: ProjectConfig) -> ProjectConfig:
    """The same project, recording no images."""
    settings = project.model_dump(mode="json")
    for session in (
        settings["bootstrap"]["demonstrations"],
        settings["bootstrap"]["evaluation"],
        settings["iteration"]["collect"],
        settings["iteration"]["evaluation"],
    ):
        session["robot"]["cameras"] = []
    return ProjectConfig.model_validate(settings)


def with_tokenizer_digest[C: (TrainPolicyConfig, TrainValueConfig)](config: C) -> C:
    """The same settings, the prompt naming the digest of the tokenizer file it will read.

    Raises:
        ConfigError: If the tokenizer file is missing.
    """
    settings = config.model_dump(mode="json")
    _fill_digests(settings, {})
    return type(config).model_validate(settings)


def unnamed_tokenizer_digest(prompt: PromptConfig) -> str | None:
    """Digest of the tokenizer file that a prompt will read; None if it names one itself.

    Raises:
        ConfigError: If the tokenizer file is missing.
    """
    return _digest(prompt.tokenizer, {}) if prompt.tokenizer_digest is None else None


def with_tokenizer_digests(project: ProjectConfig) -> ProjectConfig:
    """The same project, every prompt naming the digest of the tokenizer file it will read.

    Raises:
        ConfigError: If a tokenizer file is missing.
    """
    settings = project.model_dump(mode="json")
    _fill_digests(settings, {})
    return ProjectConfig.model_validate(settings)


def _fill_digests(settings: dict[str, Any], known: dict[str, str]) -> None:
    for name, value in settings.items():
        if name == "prompt":
            prompt = PromptConfig.model_validate(value)
            if prompt.tokenizer_digest is None:
                value["tokenizer_digest"] = _digest(prompt.tokenizer, known)
        elif isinstance(value, dict):
            _fill_digests(value, known)


def _digest(tokenizer: str, known: dict[str, str]) -> str:
    from recap_core.stages.tokenizers import tokenizer_file_digest

    if tokenizer not in known:
        known[tokenizer] = tokenizer_file_digest(tokenizer)
    return known[tokenizer]
