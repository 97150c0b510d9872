"""Reader of one raw episode directory, as the recorder leaves it (SPEC §2.4).

Every broken rule is one ``EpisodeError`` or ``ColumnError`` that names the episode, the file, the
value, the rule and what to do next.
"""

import json
import logging
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64

from recap_core.data.columns import AUTONOMOUS, CORRECTING, PHASES, check_finite
from recap_core.data.info import check_file_name
from recap_core.errors import DataError, EpisodeError

logger = logging.getLogger(__name__)

IN_PROGRESS: Final = "RECORDING_IN_PROGRESS"
"""Marker of an episode that is being written."""
MAX_CUT: Final = 1
"""Rows by which a file may miss or exceed the timestamps, as a recorder stopped mid-tick leaves."""
_UNREADABLE: Final = (
    ValueError, OSError, EOFError, MemoryError, NotImplementedError, RuntimeError,
    struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What NumPy and zipfile raise for files that are cut, damaged, encrypted or hold objects."""


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
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    cameras: dict[str, RawCamera]
    """By camera name, sorted."""


def _broken(episode: Path, file: str, problem: str) -> EpisodeError:
    return EpisodeError(
        f"episode {episode.name}: {file} {problem}. "
        "Exclude the episode with an annotation, or record it again."
    )


def episode_directories(recording: Path) -> list[Path]:
    """The finished episodes of a recording, in order of their names.

    Directories that are still being written, or that have no metadata, are left out with a warning.

    Raises:
        DataError: If there is no such directory, or no finished episode in it.
    """
    if not recording.is_dir():
        raise DataError(f"there is no recording at {recording}. Check the path.")
    found = []
    for path in sorted(recording.glob("episode_*")):
        try:
            is_unfinished = (path / IN_PROGRESS).exists()
        except PermissionError as error:
            raise _broken(path, "the directory", f"cannot be read ({error})") from error
        if is_unfinished:
            logger.warning("leaving out %s: it is still being recorded", path.name)
        elif not (path / "metadata.json").exists():
            logger.warning("leaving out %s: it has no metadata.json", path.name)
        else:
            found.append(path)
    if not found:
        raise DataError(
            f"{recording} holds no finished episode (episode_*/metadata.json). Record at least one."
        )
    return found


def _load(episode: Path, file: str) -> np.ndarray:
    """The array in an ``.npy`` file."""
    path = episode / file
    if not path.exists():
        raise _broken(episode, file, "is missing")
    try:
        values = np.load(path, allow_pickle=False)
    except _UNREADABLE as error:
        raise _broken(episode, file, f"cannot be read ({error})") from error
    if not isinstance(values, np.ndarray):
        values.close()
        raise _broken(episode, file, "is an archive, but must be one array")
    return values


def _member(episode: Path, file: str, name: str) -> np.ndarray:
    """One array of an ``.npz`` file."""
    path = episode / file
    if not path.exists():
        raise _broken(episode, file, "is missing")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if f"{name}.npy" not in names:
            arrays = sorted(member.removesuffix(".npy") for member in names)
            raise _broken(episode, file, f"has no array {name!r}, only {arrays}")
        with np.load(path, allow_pickle=False) as arrays:
            values = arrays[name]
    except _UNREADABLE as error:
        raise _broken(episode, file, f"cannot be read ({error})") from error
    if not isinstance(values, np.ndarray):
        raise _broken(episode, file, f"holds something else than an array as {name!r}")
    return values


def _rows(episode: Path, file: str, values: np.ndarray, num_rows: int) -> np.ndarray:
    """``values`` as a float32 matrix of ``num_rows`` rows, or an error."""
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not values.shape[1]:
        rule = "must be a matrix of numbers, one row per tick"
        raise _broken(episode, file, f"is {values.dtype} {values.shape}, but {rule}")
    if not num_rows <= len(values) <= num_rows + MAX_CUT:
        raise _broken(episode, file, f"has {len(values)} rows, but timestamps.npy has {num_rows}")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
        rows = values[:num_rows].astype(np.float32)
    check_finite(file, rows, where=f"episode {episode.name}")
    return rows


def read_timestamps(episode: Path) -> Float64[np.ndarray, " t"]:
    """Unix seconds of every control tick.

    Raises:
        EpisodeError: If they are missing, not finite, or do not rise.
    """
    timestamps = _load(episode, "timestamps.npy")
    return _check_times(episode, "timestamps.npy", timestamps)


def _check_times(episode: Path, file: str, times: np.ndarray) -> Float64[np.ndarray, " t"]:
    if times.ndim != 1 or times.dtype.kind not in "iuf":
        raise _broken(episode, file, f"is {times.dtype} {times.shape}, but must be seconds (N,)")
    times = times.astype(np.float64)
    if not np.isfinite(times).all():
        raise _broken(episode, file, "holds a time that is not finite")
    steps = np.diff(times)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        raise _broken(episode, file, f"does not rise between rows {at} and {at + 1}")
    return times


def read_metadata(episode: Path) -> dict[str, Any]:
    """``metadata.json`` with a non-empty ``task_instruction``, ``arms`` and ``cameras``.

    Raises:
        EpisodeError: If it cannot be read, or a key is missing.
    """
    try:
        metadata = json.loads((episode / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(episode, "metadata.json", f"cannot be read ({error})") from error
    if not isinstance(metadata, dict):
        raise _broken(episode, "metadata.json", f"holds a {type(metadata).__name__}, not an object")
    for key in ("task_instruction", "arms", "cameras"):
        if key not in metadata:
            raise _broken(episode, "metadata.json", f"has no {key!r}")
    _check_task(episode, metadata["task_instruction"])
    for key in ("arms", "cameras"):
        names = metadata[key]
        if not isinstance(names, list) or len({str(name) for name in names}) != len(names):
            problem = f"has {key!r} {names!r}, but needs a list of different names"
            raise _broken(episode, "metadata.json", problem)
        for name in names:
            check_file_name(name, what=f"one of the {key} of episode {episode.name}")
    return metadata


def _check_task(episode: Path, task: object) -> None:
    """Raise EpisodeError unless a task is text that can be stored."""
    if not isinstance(task, str):
        raise _broken(
            episode, "metadata.json", f"has 'task_instruction' {task!r}, which is no text"
        )
    if not task.strip():
        raise _broken(episode, "metadata.json", "has an empty 'task_instruction'")
    try:
        task.encode()
    except UnicodeEncodeError as error:
        problem = f"has a 'task_instruction' that is no Unicode text ({error})"
        raise _broken(episode, "metadata.json", problem) from error


def read_outcome(episode: Path) -> bool:
    """Whether the operator marked the episode a success; no mark is a failure.

    Raises:
        EpisodeError: If it is marked both.
    """
    success, failure = (episode / "SUCCESS").exists(), (episode / "FAILURE").exists()
    if success and failure:
        raise _broken(episode, "SUCCESS", "and FAILURE are both there; keep one")
    return success


def _read_phase(episode: Path, num_rows: int) -> np.ndarray:
    """Phases; where they are missing or short, those that ``interventions.npy`` implies."""
    phase = None
    if (episode / "phase.npy").exists():
        phase = _load(episode, "phase.npy")
        if phase.ndim != 1:
            raise _broken(episode, "phase.npy", f"has shape {phase.shape}, but must be (N,)")
        if len(phase) >= num_rows:
            unknown = sorted(set(np.unique(phase).tolist()) - set(PHASES))
            if unknown:
                rule = f"phases are {', '.join(PHASES)}"
                raise _broken(episode, "phase.npy", f"holds {unknown[0]!r}, but {rule}")
            return phase[:num_rows].astype("U16")
    if (episode / "interventions.npy").exists():
        flags = _load(episode, "interventions.npy")
        if flags.ndim != 1 or flags.dtype.kind not in "biu":
            problem = f"is {flags.dtype} {flags.shape}, but must be flags (N,)"
            raise _broken(episode, "interventions.npy", problem)
        if len(flags) < num_rows:
            raise _broken(episode, "interventions.npy", f"has {len(flags)} of {num_rows} rows")
        return np.where(flags[:num_rows].astype(bool), CORRECTING, AUTONOMOUS).astype("U16")
    if phase is not None:
        raise _broken(episode, "phase.npy", f"has {len(phase)} of {num_rows} rows")
    return np.full(num_rows, AUTONOMOUS, dtype="U16")


def _read_arms(
    episode: Path, arms: Sequence[str], num_rows: int
) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """States, actions and dimension names of every arm."""
    states, actions, names = [], [], []
    for arm in arms:
        file = f"{arm}_states.npz"
        for key in ("joint_pos", "gripper_pos"):
            values = _rows(episode, file, _member(episode, file, key), num_rows)
            states.append(values)
            kind = "joint" if key == "joint_pos" else "gripper"
            names += [f"{arm}_{kind}_{i}" for i in range(values.shape[1])]
        file = f"{arm}_actions.npz"
        actions.append(_rows(episode, file, _member(episode, file, "pos"), num_rows))
    return states, actions, names


def _read_cameras(episode: Path, names: Sequence[str]) -> dict[str, RawCamera]:
    cameras = {}
    for name in sorted(names):
        path, times_file = episode / f"{name}.mp4", f"{name}_timestamps.npy"
        if not path.exists():
            raise _broken(episode, path.name, "is missing")
        times = None
        if (episode / times_file).exists():
            times = _check_times(episode, times_file, _load(episode, times_file))
        cameras[name] = RawCamera(path, times)
    return cameras


def read_raw_episode(episode: Path) -> RawEpisode:
    """Read one episode directory; videos are only located, not opened.

    Leader arms and the policy's shadow stream are left alone. Arms come in alphabetical order, so
    left before right.

    Raises:
        EpisodeError: If a file is missing, unreadable, or disagrees with the others.
        ColumnError: If a state or an action is not finite.
    """
    metadata = read_metadata(episode)
    timestamps = read_timestamps(episode)
    num_rows = len(timestamps)
    arms = sorted(arm for arm in metadata["arms"] if not arm.startswith("leader"))
    if not arms:
        raise _broken(episode, "metadata.json", "names no follower arm in 'arms'")
    states, actions, names = _read_arms(episode, arms, num_rows)
    environment_state = None
    if (episode / "environment_state.npy").exists():
        file = "environment_state.npy"
        environment_state = _rows(episode, file, _load(episode, file), num_rows)
    action = np.concatenate(actions, axis=1)
    return RawEpisode(
        name=episode.name,
        task=str(metadata["task_instruction"]).strip(),
        success=read_outcome(episode),
        timestamps=timestamps,
        state=np.concatenate(states, axis=1),
        action=action,
        environment_state=environment_state,
        phase=_read_phase(episode, num_rows),
        state_names=tuple(names),
        action_names=tuple(names)
        if len(names) == action.shape[1]
        else tuple(f"action_{i}" for i in range(action.shape[1])),
        cameras=_read_cameras(episode, list(metadata["cameras"])),
    )
