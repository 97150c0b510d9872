"""Kill a live recorder at random moments, and check what it left.

Run as a script in a process of its own, because it forks: ``recording_kills DIRECTORY SEED KILLS``.
Every second kill comes just before a random change of the file system, the others after a random
time. Prints one JSON line: what was found after the kills, and how often.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import av
import numpy as np

from recap_core.collection.live_recorder import SessionRecorder
from recap_core.collection.live_session import SessionSettings, recover
from recap_core.config.recording import RecordingConfig
from recap_core.data.in_progress import IN_PROGRESS, episode_state
from recap_core.data.inbox import find_sessions
from recap_core.rollout.frame import Outcome
from tests.core.collection.live_cell import START_S, frame_of, number_of, robot

CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
MAX_CHANGES = 250
MAX_S = 0.5
CAMERAS = ("head_camera", "wrist_camera")
CONFIRMED = "confirmed.txt"


def killed_before(number: int, action: Callable[[], object]) -> bool:
    """Fork, and kill the child before its ``number``-th change; False if it ended by itself."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            is_write = event == "open" and bool(int(str(arguments[2] or 0)) & WRITING)
            if event in CHANGES or is_write:
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(hook)
        _run_and_exit(action)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def killed_after(seconds: float, action: Callable[[], object]) -> bool:
    """Fork, and kill the child after a time; False if it ended by itself."""
    pid = os.fork()
    if pid == 0:
        _run_and_exit(action)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def _run_and_exit(action: Callable[[], object]) -> None:
    try:
        action()
    except BaseException as error:  # noqa: BLE001 - told, and the drill fails
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def record_endlessly(base: Path, seed: int) -> None:
    """Sessions of short episodes; what was saved is written down once ``finish`` has returned."""
    rng = random.Random(seed)  # noqa: S311 - a drill
    config = RecordingConfig(base_dir=base, disk_reserve_bytes=0, preset="ultrafast")
    while True:
        recorder = SessionRecorder(config, SessionSettings("drill"), robot())
        for _ in range(rng.randint(1, 6)):
            recorder.start()
            for number in range(rng.randint(2, 12)):
                lost = [camera for camera in CAMERAS if number and rng.random() < 0.1]
                recorder.record(frame_of(number, without=lost))
            if rng.random() < 0.3:
                recorder.discard()
                continue
            saved = recorder.finish(rng.choice((Outcome.SUCCESS, Outcome.FAILURE)))
            with (base / CONFIRMED).open("a") as file:
                file.write(saved.directory + "\n")
        recorder.close()


def check_whole(episode: Path) -> None:
    """All arrays have as many rows, all videos as many pictures as times, each in its place."""
    metadata = json.loads((episode / "metadata.json").read_text())
    num_rows = metadata["num_steps"]
    markers = [name for name in ("SUCCESS", "FAILURE") if (episode / name).exists()]
    assert markers == ["SUCCESS" if metadata["success"] else "FAILURE"], episode
    for name in ("timestamps", "phase", "interventions", "correction_index", "policy_id"):
        assert len(np.load(episode / f"{name}.npy")) == num_rows, (episode, name)
    for path in episode.glob("*.npz"):
        arrays = np.load(path)
        assert {len(arrays[key]) for key in arrays.files} == {num_rows}, path
    assert len(list(episode.glob("*.npz"))) == 6
    for camera in CAMERAS:
        times = np.load(episode / f"{camera}_timestamps.npy")
        with closing(av.open(str(episode / f"{camera}.mp4"))) as container:
            images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        numbers = [number_of(image) for image in images]
        assert numbers == np.round((times - START_S) * 30).astype(int).tolist(), episode
        assert len(times) + metadata["dropped_images"][camera] == num_rows, episode


def look(base: Path) -> str:
    """What the kill left, in a word; everything that looks finished must be whole."""
    found = "nothing open"
    for episode in base.glob("*/episode_*"):
        state = episode_state(episode)
        assert state != "recording", episode
        if state == "interrupted":
            assert found == "nothing open", "two episodes were open"
            found = "an open episode"
        elif (episode / IN_PROGRESS).exists():
            check_whole(episode)
            found = "a saved episode with its marker"
    if list(base.glob("*/.discarded_*")) or list(base.glob(".discarded_*")):
        found = "a half deleted episode"
    if list(base.glob("*/.opening_*")) or list(base.glob(".opening_*")):
        found = "a half made directory"
    if any(
        "before its session_summary.json counted" in (session.problem or "")
        for session in find_sessions(base, now_s=4e9, quiet_s=0.0)
    ):
        found = "a summary that lacks an episode"
    return found


def check_clean(base: Path, checked: set[str]) -> None:
    """Whole sessions only, with true summaries, that the inbox takes."""
    left = [path for name in ("*/.*", "*/episode_*/R*", "*/SESSION_*") for path in base.glob(name)]
    assert not left, left
    for draft in base.glob(".opening_*"):
        draft.rmdir()  # killed before its marker: empty, and gone after a minute
    for session in (path for path in base.iterdir() if path.is_dir()):
        episodes = sorted(path.name for path in session.glob("episode_*"))
        summary = json.loads((session / "session_summary.json").read_text())
        assert summary["episodes"] == len(episodes), session
        assert [entry["dir"] for entry in summary["per_episode"]] == episodes, session
        for name in episodes:
            if str(session / name) not in checked:
                check_whole(session / name)
                checked.add(str(session / name))
        if episodes:
            (found,) = find_sessions(session, now_s=4e9, quiet_s=0.0)
            assert found.problem is None, found
    confirmed = base / CONFIRMED
    for line in confirmed.read_text().splitlines() if confirmed.exists() else ():
        assert line in checked, f"{line} was saved and is gone"


def drill(base: Path, *, seed: int, num_kills: int) -> Counter[str]:
    """Kill ``num_kills`` recorders, and as many that put things in order."""
    rng = random.Random(seed)  # noqa: S311 - a drill
    outcomes: Counter[str] = Counter()
    checked: set[str] = set()
    base.mkdir()
    for kill in range(num_kills):

        def work(seed: int = seed + kill) -> None:
            record_endlessly(base, seed)

        if kill % 2:
            assert killed_before(rng.randrange(MAX_CHANGES), work)
        else:
            assert killed_after(rng.uniform(0.0, MAX_S), work)
        outcomes[look(base)] += 1
        if killed_before(rng.randrange(4), lambda: recover(base)):
            outcomes["killed while it put things in order"] += 1
        recover(base)
        check_clean(base, checked)
    outcomes["whole episodes"] = len(checked)
    return outcomes


if __name__ == "__main__":
    directory, seed, num_kills = sys.argv[1:]
    told = drill(Path(directory), seed=int(seed), num_kills=int(num_kills))
    sys.stdout.write(json.dumps(told) + "\n")
