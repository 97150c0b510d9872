"""Reader of one raw episode directory, as a recorder leaves it (SPEC §2.4).

Every broken rule is one ``EpisodeError`` or ``ColumnError`` that names the episode, the file, the
value, the rule and what to do next.
"""

import json
import logging
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32

from recap_core.config.recording_map import PLAIN_NAME, ArrayPart, RecordingMap, parts_of_arms
from recap_core.data.columns import AUTONOMOUS, CORRECTING, PHASES, check_finite
from recap_core.data.in_progress import METADATA, episode_state
from recap_core.errors import ConfigError, DataError, EpisodeError

logger = logging.getLogger(__name__)

MAX_CUT: Final = 1
"""Rows by which the files of an episode may differ: a recorder that is stopped in the middle of a
tick has written one row more to some of them. All are cut to the shortest. A larger difference is a
truncated file."""
TIMESTAMPS: Final = "timestamps.npy"
PHASE_FILE: Final = "phase.npy"
INTERVENTIONS_FILE: Final = "interventions.npy"
CORRECTION_INDEX_FILE: Final = "correction_index.npy"
UNREADABLE: Final = (
    ValueError,
    OSError,
    EOFError,
    MemoryError,  # a header that promises more than there can be
    RuntimeError,  # encrypted, or nested too deeply
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tokenize.TokenError,
)
"""What NumPy and JSON raise on damaged files."""
LEADER: Final = "leader"
"""Arms called so are the operator's."""


@dataclass(frozen=True)
class RawCamera:
    """One camera's video."""

    path: Path
    timestamps: Float64[np.ndarray, " c"] | None
    """Unix seconds of every encoded frame; None: one frame per row."""


@dataclass(frozen=True)
class RawEpisode:
    """One episode, its arrays in memory and its videos on disk."""

    name: str
    task: str
    success: bool
    timestamps: Float64[np.ndarray, " t"]
    """Unix seconds of every control tick, rising."""
    state: Float32[np.ndarray, "t s"]
    """Per arm: joint positions, gripper."""
    action: Float32[np.ndarray, "t a"]
    """Per arm: the command that was sent in the tick."""
    environment_state: Float32[np.ndarray, "t v"] | None
    """What only a simulator knows, such as an object's pose."""
    phase: np.ndarray
    """Phase of every tick, text."""
    correction_index: Int32[np.ndarray, " t"] | None
    """Corrections begun up to every tick; None if it was not recorded."""
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    held_action_dims: tuple[int, ...]
    """Action dims (grippers) that resampling holds."""
    cameras: dict[str, RawCamera]
    """By camera name, sorted."""


class _Vector(NamedTuple):
    """The columns of state or action, before they are cut to a common length."""

    blocks: list[Float32[np.ndarray, "_ _"]]
    names: tuple[str, ...]
    held: tuple[int, ...]
    lengths: dict[str, int]
    """Rows by file and array."""

    def matrix(self, num_rows: int) -> Float32[np.ndarray, "_ _"]:
        return np.concatenate([block[:num_rows] for block in self.blocks], axis=1)


def _broken(episode: Path, file: str, problem: str) -> EpisodeError:
    return EpisodeError(
        f"episode {episode.name}: {file} {problem}. "
        "Exclude the episode with an annotation, or record it again."
    )


def episode_directories(recording: Path, *, warn: bool = True) -> list[Path]:
    """The finished episodes of a recording, in order of their names.

    Directories that are being written, or that a recorder has given up, are left alone.

    Args:
        recording: The directory that holds them.
        warn: Whether to log a warning for each that is left out.

    Raises:
        DataError: If there is no such directory, or no finished episode in it.
    """
    if not recording.is_dir():
        raise DataError(f"there is no recording at {recording}. Check the path.")
    found = []
    for path in sorted(path for path in recording.glob("episode_*") if path.is_dir()):
        try:
            state = episode_state(path)
        except PermissionError as error:
            raise _broken(path, "the directory", f"cannot be read ({error})") from error
        if state == "finished":
            found.append(path)
        elif warn:
            reasons = {"recording": "is still being recorded", "interrupted": f"has no {METADATA}"}
            logger.warning("leaving out %s: it %s", path.name, reasons[state])
    if not found:
        raise DataError(
            f"{recording} holds no finished episode (episode_*/metadata.json). Record at least "
            "one, or pass the directory of the session, which holds the episodes."
        )
    return found


def _load(episode: Path, file: str, array: str | None = None) -> np.ndarray:
    """The array of an ``.npy`` file, or one array of an ``.npz`` file."""
    path = episode / file
    if not path.exists():
        raise _broken(episode, file, "is missing")
    try:
        # Opened here: NumPy leaves a damaged archive open.
        with path.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            if isinstance(content, np.lib.npyio.NpzFile) and array is not None:
                if array not in content.files:
                    found = f"only {sorted(content)}"
                    raise _broken(episode, file, f"has no array {array!r}, {found}")
                content = content[array]
            elif array is not None:
                content = None
    except UNREADABLE as error:
        raise _broken(episode, file, f"cannot be read ({error})") from error
    if not isinstance(content, np.ndarray):
        raise _broken(episode, file, f"is no {path.suffix} file")
    return content


def _matrix(
    episode: Path, file: str, values: np.ndarray, *, is_column: bool = False
) -> Float32[np.ndarray, "_ _"]:
    """``values`` as a finite float32 matrix, or an error."""
    if is_column and values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not values.shape[1]:
        rule = "must be a matrix of numbers, one row per tick"
        raise _broken(episode, file, f"is {values.dtype} {values.shape}, but {rule}")
    with np.errstate(over="ignore"):  # a number too large becomes infinite, and is refused
        values = values.astype(np.float32)
    check_finite(file, values, where=f"episode {episode.name}")
    return values


def _read_vector(episode: Path, parts: Sequence[ArrayPart]) -> _Vector:
    blocks, names, held, lengths = [], [], [], {}
    for part in parts:
        values = _load(episode, part.file, part.array)
        block = _matrix(episode, part.file, values, is_column=len(part.names) == 1)
        if part.dims is not None:
            if max(part.dims) >= block.shape[1]:
                raise ConfigError(
                    f"the robot map takes column {max(part.dims)} of {part.array or part.file}, "
                    f"but {part.file} of episode {episode.name} has {block.shape[1]}. "
                    "Correct 'dims'."
                )
            block = block[:, list(part.dims)]
        own = part.dimension_names(block.shape[1])
        if len(own) != block.shape[1]:
            raise ConfigError(
                f"the robot map names {len(own)} dimensions of {part.file} "
                f"({', '.join(own)}), but episode {episode.name} has {block.shape[1]}. "
                "Correct 'names'."
            )
        held += [len(names) + dim for dim in part.held]
        names += own
        blocks.append(block)
        lengths[f"{part.file} {part.array or ''}".rstrip()] = len(block)
    return _Vector(blocks, tuple(names), tuple(held), lengths)


def read_timestamps(episode: Path) -> Float64[np.ndarray, " t"]:
    """Unix seconds of every control tick.

    Raises:
        EpisodeError: If they are missing, not finite, or do not rise.
    """
    return _check_times(episode, TIMESTAMPS, _load(episode, TIMESTAMPS))


def _check_times(episode: Path, file: str, times: np.ndarray) -> Float64[np.ndarray, " t"]:
    if times.ndim != 1 or times.dtype.kind not in "iuf":
        raise _broken(episode, file, f"is {times.dtype} {times.shape}, but must be seconds (N,)")
    if not np.isfinite(times).all():
        raise _broken(episode, file, "holds a time that is not finite")
    times = times.astype(np.float64)
    steps = np.diff(times)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        raise _broken(episode, file, f"does not rise between rows {at} and {at + 1}")
    return times


def read_metadata(episode: Path) -> dict[str, Any]:
    """``metadata.json`` with a ``task_instruction``; ``arms`` and ``cameras`` are plain names.

    Raises:
        EpisodeError: If it cannot be read, has no task, or a name is none.
    """
    try:
        metadata = json.loads((episode / METADATA).read_text(encoding="utf-8"))
    except UNREADABLE as error:
        raise _broken(episode, METADATA, f"cannot be read ({error})") from error
    if not isinstance(metadata, dict):
        raise _broken(
            episode, METADATA, f"holds a {type(metadata).__name__}, but must be an object"
        )
    if "task_instruction" not in metadata:
        raise _broken(episode, METADATA, "has no 'task_instruction'")
    _check_task(episode, metadata["task_instruction"])
    for key in ("arms", "cameras"):
        names = metadata.get(key, [])
        # They become parts of paths, here and in the dataset.
        if not isinstance(names, list) or not all(
            isinstance(name, str) and re.fullmatch(PLAIN_NAME, name) for name in names
        ):
            raise _broken(episode, METADATA, f"has {key} {names!r}, but must list plain names")
        if len(set(names)) < len(names):
            raise _broken(episode, METADATA, f"has {key} {names!r}, but must list each once")
    return metadata


def _check_task(episode: Path, task: object) -> None:
    """Raise EpisodeError unless a task is text that can be stored."""
    if not isinstance(task, str):
        raise _broken(episode, METADATA, f"has 'task_instruction' {task!r}, which is no text")
    if not task.strip():
        raise _broken(episode, METADATA, "has an empty 'task_instruction'")
    try:
        task.encode()
    except UnicodeEncodeError as error:
        problem = f"has a 'task_instruction' that is no Unicode text ({error})"
        raise _broken(episode, METADATA, problem) from error


def read_outcome(episode: Path) -> bool:
    """Whether the operator marked the episode a success; no mark is a failure.

    Raises:
        EpisodeError: If it is marked both.
    """
    success, failure = (episode / "SUCCESS").exists(), (episode / "FAILURE").exists()
    if success and failure:
        raise _broken(episode, "SUCCESS", "and FAILURE are both there; keep one")
    return success


def read_phase(episode: Path, num_rows: int) -> np.ndarray:
    """Phases of an episode of ``num_rows`` rows, at most one more or fewer.

    Where ``phase.npy`` is missing or short, ``interventions.npy`` tells them; without either, the
    robot was autonomous throughout.

    Raises:
        EpisodeError: If what there is is short, unreadable, or holds an unknown phase.
    """
    short: list[tuple[str, int]] = []
    for file, convert in ((PHASE_FILE, _known_phases), (INTERVENTIONS_FILE, _as_phases)):
        if not (episode / file).exists():
            continue
        values = convert(episode, file, _load(episode, file))
        if len(values) >= num_rows - MAX_CUT:
            return values
        short.append((file, len(values)))
    if short:
        file, found = short[-1]
        raise _broken(episode, file, f"has {found} of {num_rows} rows")
    return np.full(num_rows, AUTONOMOUS, dtype="U16")


def _known_phases(episode: Path, file: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind != "U":
        raise _broken(episode, file, f"is {values.dtype} {values.shape}, but must be text (N,)")
    unknown = sorted(set(np.unique(values).tolist()) - set(PHASES))
    if unknown:
        rule = f"phases are {', '.join(PHASES)}"
        raise _broken(episode, file, f"holds {unknown[0]!r}, but {rule}")
    return values.astype("U16")


def _as_phases(episode: Path, file: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise _broken(episode, file, f"is {values.dtype} {values.shape}, but must be 0 or 1 (N,)")
    return np.where(values == 1, CORRECTING, AUTONOMOUS).astype("U16")


def _read_correction_index(episode: Path) -> Int32[np.ndarray, " _"] | None:
    if not (episode / CORRECTION_INDEX_FILE).exists():
        return None
    values = _load(episode, CORRECTION_INDEX_FILE)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        rule = "must count corrections (N,)"
        found = f"is {values.dtype} {values.shape}"
        raise _broken(episode, CORRECTION_INDEX_FILE, f"{found}, but {rule}")
    is_wrong = (values < 0) | (values > np.iinfo(np.int32).max)
    is_wrong[1:] |= values[1:] < values[:-1]
    if is_wrong.any():
        at = int(np.argmax(is_wrong))
        rule = (
            f"must count from 0 on and never fall ({is_wrong.sum()} of {len(values)} rows do not)"
        )
        raise _broken(episode, CORRECTION_INDEX_FILE, f"is {values[at]} in row {at}, but {rule}")
    return values.astype(np.int32)


def _common_length(episode: Path, lengths: Mapping[str, int]) -> int:
    """Rows that every file has, or an error if one is truncated."""
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[longest] - lengths[shortest] > MAX_CUT or lengths[shortest] == 0:
        raise _broken(
            episode,
            shortest,
            f"has {lengths[shortest]} rows, but {longest} has {lengths[longest]}",
        )
    return lengths[shortest]


def _choose_arms(
    episode: Path, metadata: Mapping[str, Any], include: Sequence[str] | None
) -> tuple[str, ...]:
    if "arms" not in metadata:
        raise _broken(episode, METADATA, "has no 'arms'")
    recorded = list(metadata["arms"])
    for arm in include or ():
        if arm not in recorded:
            raise ConfigError(
                f"include_arms names {arm!r}, but episode {episode.name} recorded "
                f"{', '.join(recorded) or 'no arm'}. Name one of those."
            )
    arms = tuple(include or sorted(arm for arm in recorded if not arm.startswith(LEADER)))
    if not arms:
        raise _broken(episode, METADATA, "names no follower arm in 'arms'")
    return arms


def _read_cameras(
    episode: Path, metadata: Mapping[str, Any], videos: Mapping[str, str] | None
) -> dict[str, RawCamera]:
    if videos is None:
        if "cameras" not in metadata:
            raise _broken(episode, METADATA, "has no 'cameras'")
        videos = {name: f"{name}.mp4" for name in metadata["cameras"]}
    cameras = {}
    for name, video in sorted(videos.items()):
        if not (episode / video).exists():
            raise _broken(episode, video, "is missing")
        file = PurePosixPath(video)
        times_file = str(file.with_name(f"{file.stem}_timestamps.npy"))
        times = None
        if (episode / times_file).exists():
            times = _check_times(episode, times_file, _load(episode, times_file))
        cameras[name] = RawCamera(episode / video, times)
    return cameras


def _action_names(state: _Vector, action: _Vector, robot: RecordingMap) -> tuple[str, ...]:
    if any(part.names for part in robot.action):
        return action.names
    if len(action.names) == len(state.names):
        return state.names
    return tuple(f"action_{i}" for i in range(len(action.names)))


def read_raw_episode(
    episode: Path,
    robot: RecordingMap | None = None,
    *,
    arms: Sequence[str] | None = None,
    outcome: bool | None = None,
) -> RawEpisode:
    """Read one episode directory; videos are only located, not opened.

    Rows that not every file has are cut (at most one, see :data:`MAX_CUT`). What the map does not
    name is left alone: the policy's shadow stream, velocities, and files of older recorders.

    Args:
        episode: The directory.
        robot: Which arrays are state and action; None: the reference collector's layout.
        arms: Arms to take, in this order; None: the followers, left before right.
        outcome: Whether it succeeded, if that is known better than by its mark.

    Raises:
        EpisodeError: If a file is missing, unreadable, or disagrees with the others.
        ColumnError: If a state or an action is not finite.
        ConfigError: If an arm was not recorded, or the map asks for dimensions that do not exist.
    """
    robot = robot or RecordingMap()
    metadata = read_metadata(episode)
    chosen = _choose_arms(episode, metadata, arms) if robot.is_per_arm else ()
    times = read_timestamps(episode)
    state = _read_vector(episode, parts_of_arms(robot.state, chosen))
    action = _read_vector(episode, parts_of_arms(robot.action, chosen))
    phase = read_phase(episode, len(times))
    corrections = _read_correction_index(episode)
    lengths = {TIMESTAMPS: len(times), **state.lengths, **action.lengths, "phases": len(phase)}
    if corrections is not None:
        lengths[CORRECTION_INDEX_FILE] = len(corrections)
    environment = None
    if (episode / "environment_state.npy").exists():
        file = "environment_state.npy"
        environment = _matrix(episode, file, _load(episode, file))
        lengths[file] = len(environment)
    num_rows = _common_length(episode, lengths)
    return RawEpisode(
        name=episode.name,
        task=str(metadata["task_instruction"]).strip(),
        success=read_outcome(episode) if outcome is None else outcome,
        timestamps=times[:num_rows],
        state=state.matrix(num_rows),
        action=action.matrix(num_rows),
        environment_state=None if environment is None else environment[:num_rows],
        phase=phase[:num_rows],
        correction_index=None if corrections is None else corrections[:num_rows],
        state_names=state.names,
        action_names=_action_names(state, action, robot),
        held_action_dims=action.held,
        cameras=_read_cameras(episode, metadata, robot.cameras),
    )
