"""``recap ingest`` and ``convert``: from what a robot recorded to a dataset.

Whatever takes time to import is imported inside the commands, so that help is instant.
"""

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption, NameOption

if TYPE_CHECKING:
    from flows.references import ProjectRefs
    from recap_core.config.dataset import ConvertConfig
    from recap_core.config.recording_map import RecordingMap
    from recap_core.data.overview import Overview
    from recap_core.lineage.artifacts import Annotations, Recording
    from recap_core.lineage.store import Store


class Mode(StrEnum):
    """Who drove."""

    demonstration = "demonstration"
    rollout = "rollout"


FpsOption = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Resample to this rate. Default: as it is.")
]
ArmsOption = Annotated[
    list[str] | None,
    typer.Option(help="left,right: arms to take, in this order. Default: the followers."),
]
RobotMapOption = Annotated[
    Path | None, typer.Option(help="YAML that says which arrays are state and action.")
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, max=256, help="Episodes at a time. Default: one per CPU.")
]


def ingest(  # noqa: PLR0913 - one parameter per option
    session: Annotated[Path, typer.Argument(help="Directory that holds episode_* directories.")],
    *,
    mode: Annotated[
        Mode | None, typer.Option(help="Who drove. Default: what the episodes say, else rollout.")
    ] = None,
    round_index: Annotated[
        int | None,
        typer.Option("--round", min=0, help="0: demonstrations, k: rollouts of iteration k."),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            help="Saved project whose next round learns from it; its runs that wait for episodes "
            "look again."
        ),
    ] = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Publish a recorded session in the store; its files are shared and become read-only."""
    from deployments.cli.artifact_arguments import open_store, tell

    _show_warnings()
    store = open_store()
    refs = None if project is None else _refs(store, project)
    if refs is not None and round_index is None:
        round_index = refs.next_round()
    recording = _ingest(session, store, mode=mode, round_index=round_index, name=name)
    lines = list(_recording_lines(recording))
    if refs is not None:
        lines += _keep(recording, refs, store)
    tell(recording, store, json=json, lines=lines)


def convert(  # noqa: PLR0913 - one parameter per option
    recording: Annotated[
        str, typer.Argument(help="Recording: id, name-id8 or ref; or a session directory.")
    ],
    *,
    target_fps: FpsOption = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Demonstrations: human and successful throughout.")
    ] = False,
    success_only: Annotated[
        bool, typer.Option("--success-only", help="Leave failures out; not for RECAP.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="Task text instead of the recorded one.")] = None,
    include_arms: ArmsOption = None,
    robot: RobotMapOption = None,
    annotations: Annotated[str | None, typer.Option(help="Corrections to apply.")] = None,
    max_workers: WorkersOption = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Convert a recording to a LeRobot v3.0 dataset with the five RECAP columns."""
    from deployments.cli.artifact_arguments import open_store, tell
    from recap_core.config.dataset import ConvertRuntime
    from recap_core.data.overview import read_overview
    from recap_core.progress import Terminal
    from recap_core.stages.convert import convert_recording

    _show_warnings()
    settings = {
        "target_fps": target_fps,
        "success_only": success_only,
        "task": task,
        "include_arms": [arm for given in include_arms or () for arm in given.split(",")] or None,
    }
    config = _config(settings, robot)
    store = open_store()
    found = _recording(recording, store, demo=demo, name=name)
    is_demonstration = demo or found.mode == "demonstration"
    config = config.model_copy(update={"demonstrations": is_demonstration})
    dataset = convert_recording(
        found,
        config,
        annotations=_corrections(annotations, store),
        name=name or found.name,
        store=store,
        runtime=ConvertRuntime(max_workers=max_workers),
        progress=Terminal(),
    )
    overview = read_overview(store.path(dataset))
    tell(dataset, store, json=json, lines=_dataset_lines(overview, dataset.fps, dataset.tasks))
    for warning in _warnings(overview, found, config):
        typer.echo(f"warning: {warning}", err=True)


def _recording(reference: str, store: "Store", *, demo: bool, name: str | None) -> "Recording":
    """The recording that a person named; a session directory is published first."""
    if not Path(reference).is_dir():
        return _published(reference, store)
    mode = Mode.demonstration if demo else None
    return _ingest(Path(reference), store, mode=mode, round_index=None, name=name)


def _corrections(reference: str | None, store: "Store") -> "Annotations | None":
    from deployments.cli.artifact_arguments import artifact_of_kind
    from recap_core.lineage.artifacts import Annotations

    if not reference:
        return None
    return artifact_of_kind(store, reference, Annotations, wanted="an annotations artifact")


def _warnings(overview: "Overview", recording: "Recording", config: "ConvertConfig") -> list[str]:
    """What is unusual about the dataset, and episodes that count as what they are not marked."""
    from recap_core.data.overview import sanity_warnings

    warnings = sanity_warnings(overview)
    num_failures = recording.num_episodes - recording.num_successes
    if config.demonstrations and not config.success_only and num_failures:
        warnings.append(
            f"{num_failures} demonstrations are not marked as a success, and count as one. Leave "
            "them out with --success-only."
        )
    return warnings


def _published(reference: str, store: "Store") -> "Recording":
    from deployments.cli.artifact_arguments import artifact_of_kind
    from recap_core.errors import ArtifactError, ArtifactNotFoundError
    from recap_core.lineage.artifacts import Recording

    try:
        return artifact_of_kind(store, reference, Recording, wanted="a recording")
    except ArtifactError as error:
        if "/" not in reference:
            raise
        raise ArtifactNotFoundError(f"{reference} is no directory, and {error}") from error


def _show_warnings() -> None:
    import logging

    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")


def _ingest(
    session: Path, store: "Store", *, mode: Mode | None, round_index: int | None, name: str | None
) -> "Recording":
    from recap_core.stages.ingest import describe_session, ingest_recording

    config = describe_session(
        session, mode=None if mode is None else mode.value, round_index=round_index, store=store
    )
    return ingest_recording(session, config, name=name or artifact_name(session), store=store)


def _refs(store: "Store", project: str) -> "ProjectRefs":
    """The refs of a saved project.

    Raises:
        ConfigError: If there is none of that name.
    """
    from flows.references import ProjectRefs
    from recap_core.lineage.project_files import load_project

    return ProjectRefs(store, load_project(store.home, project))


def _keep(recording: "Recording", refs: "ProjectRefs", store: "Store") -> list[str]:
    """Make a recording a project's, and wake what waits for its episodes."""
    from recap_core.lineage.waiting import all_waiting

    refs.keep_recording(recording)
    found = f"{refs.name} has {refs.num_new_episodes()} new episodes for its next round"
    waiting = [note for note in all_waiting(store.home, refs.name) if note.waits_for == "episodes"]
    if not waiting:
        return [found]
    from deployments.cli.promotion_waking import wake_runs

    woken = wake_runs(store.home, waiting)
    asleep = sorted({note.run_name for note in waiting} - set(woken))
    lines = [found, *(f"{name} waited for episodes and looks again" for name in woken)]
    return lines + [f"{name} looks again once a server runs (recap up)" for name in asleep]


def artifact_name(session: Path) -> str:
    """A valid artifact name from a directory's."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", session.resolve().name.lower())
    return plain.strip("._-")[:64] or "recording"


def _config(settings: dict[str, object], robot: Path | None) -> "ConvertConfig":
    from pydantic import ValidationError

    from recap_core.config.dataset import ConvertConfig
    from recap_core.config.overlay import explain
    from recap_core.errors import ConfigError

    given = {key: value for key, value in settings.items() if value is not None}
    if robot is not None:
        given["robot"] = read_robot_map(robot)
    try:
        return ConvertConfig.model_validate(given)
    except ValidationError as error:
        raise ConfigError(explain(error, ConvertConfig)) from None


def read_robot_map(file: Path) -> "RecordingMap":
    """The map in a YAML file, at its top or under ``robot``."""
    from pydantic import ValidationError

    from recap_core.config.overlay import explain, read_settings
    from recap_core.config.recording_map import RecordingMap
    from recap_core.errors import ConfigError

    content = read_settings(file)
    try:
        return RecordingMap.model_validate(content.get("robot", content))
    except ValidationError as error:
        raise ConfigError(f"{file}: {explain(error, RecordingMap)}") from None


def _recording_lines(recording: "Recording") -> list[str]:
    share = recording.num_intervention_frames / recording.num_frames
    return [
        f"{recording.num_episodes} episodes, {recording.num_frames:,} frames, {recording.fps} fps",
        f"{recording.mode}s of round {recording.round_index}",
        _outcomes(recording.num_successes, recording.num_episodes),
        f"{share:.1%} of the frames by a human",
        f"task: {recording.task}",
        f"cameras: {', '.join(recording.cameras) or 'none'}",
    ]


def _dataset_lines(overview: "Overview", fps: int, tasks: tuple[str, ...]) -> list[str]:
    paused = overview.num_paused_frames / overview.num_frames
    return [
        f"{overview.num_episodes} episodes, {overview.num_frames:,} frames, {fps} fps",
        _outcomes(overview.num_successes, overview.num_episodes),
        f"{overview.intervention_share:.1%} of the frames by a human, {paused:.1%} paused",
        f"state: {overview.state_dims} dimensions",
        f"tasks: {'; '.join(tasks)}",
        f"cameras: {', '.join(overview.cameras) or 'none'}",
    ]


def _outcomes(num_successes: int, num_episodes: int) -> str:
    share = num_successes / num_episodes
    return f"{num_successes} successes, {num_episodes - num_successes} failures ({share:.0%})"
