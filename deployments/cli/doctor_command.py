"""``recap doctor``: what can go wrong, found before it costs hours of training."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.doctor_answer import Examined, answer
from deployments.cli.options import JsonOption
from deployments.cli.recording_commands import RobotMapOption, read_robot_map

doctor = typer.Typer(
    help="Checks that find what would go wrong later.", no_args_is_help=True, add_completion=False
)

_LOOKED_AT = "files, metadata, columns, sums, motion, episodes, outcomes, labels, prompts, videos"


class Decode(StrEnum):
    """Images to decode."""

    none = "none"
    sampled = "sampled"
    all = "all"


_PICTURES = {
    Decode.none: "no picture was decoded",
    Decode.sampled: "of pictures the first, middle and last of every episode",
    Decode.all: "every picture was decoded",
}


@doctor.callback()
def _group() -> None:
    """Checks that find what would go wrong later."""


@doctor.command(epilog="Example: recap doctor data demo/sim-aloha/round-1-dataset --decode all")
def data(
    path_or_artifact: Annotated[
        str, typer.Argument(help="Directory or artifact: a dataset, or a recording session.")
    ],
    *,
    decode: Annotated[
        Decode, typer.Option(help="Images to decode: first, middle and last of every episode.")
    ] = Decode.sampled,
    robot: RobotMapOption = None,
    json: JsonOption = False,
) -> None:
    """Check a dataset or a recording from the file names to the pictures; exit code 1 on errors."""
    from recap_core.config.validation import ValidateConfig
    from recap_core.data.validate import validate
    from recap_core.progress import Terminal

    root = _directory(path_or_artifact)
    findings = validate(
        root,
        ValidateConfig(decode=decode.value),
        robot=None if robot is None else read_robot_map(robot),
        progress=Terminal(),
    )
    examined = Examined(
        str(root),
        {"path": str(root)},
        "is_valid",
        lines=(_facts(root), f"Looked at {_LOOKED_AT}; {_PICTURES[decode]}."),
    )
    answer(findings, examined, json=json)


def _directory(reference: str) -> Path:
    """A directory, or that of an artifact in the store."""
    if Path(reference).is_dir():
        return Path(reference).absolute()
    from recap_core.config.environment import recap_home
    from recap_core.errors import ArtifactNotFoundError, ConfigError
    from recap_core.lineage.artifacts import AnyDataset, Recording
    from recap_core.lineage.store import Store

    store = Store(recap_home())
    try:
        artifact = store.get(reference)
    except ArtifactNotFoundError as error:
        raise ArtifactNotFoundError(
            f"{reference} is neither a directory nor an artifact ({error})"
        ) from error
    if not isinstance(artifact, AnyDataset | Recording):
        raise ConfigError(
            f"{artifact.name}-{artifact.id[:8]} is a {artifact.kind}; datasets and recordings can "
            "be checked"
        )
    return store.path(artifact)


def _facts(root: Path) -> str:
    """What is in the directory, as far as its metadata can be read."""
    from recap_core.data.layout import read_meta
    from recap_core.errors import DataError

    try:
        meta = read_meta(root)
    except DataError:
        num_episodes = sum(path.is_dir() for path in root.glob("episode_*"))
        return f"Recording of {_count(num_episodes, 'episode')}" if num_episodes else "No dataset"
    parts = [
        _count(meta.num_episodes, "episode"),
        f"{_count(meta.num_frames, 'frame')} at {meta.fps} fps",
        _count(len(meta.cameras), "camera"),
        _count(len(meta.tasks), "task"),
    ]
    return f"LeRobot dataset of {', '.join(parts)}"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")
