"""Sessions of any recorder become recordings."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from recap_core.config.dataset import ConvertConfig
from recap_core.data.frames import read_frames
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_recording
from recap_core.errors import DataError
from recap_core.lineage.artifacts import Recording
from recap_core.lineage.store import Store
from recap_core.stages.convert import convert_recording
from recap_core.stages.ingest import describe_session, ingest_recording
from tests.core.data.permissions import bound_by_permissions
from tests.written_state import written_state

ROBOT = SyntheticRobot(cameras=("head_camera",))
EPISODES = [
    SyntheticEpisode(length=8),
    SyntheticEpisode(length=9, success=False, interventions=(3, 4)),
]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return write_synthetic_recording(tmp_path / "fold_20260101_120000", EPISODES, ROBOT)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def ingest(session: Path, store: Store, **options: object) -> Recording:
    config = describe_session(session, store=store, **options)  # type: ignore[arg-type]
    return ingest_recording(session, config, name="fold", store=store)


def test_a_session_becomes_a_recording(session: Path, store: Store) -> None:
    """Counts and rate are those of its episodes; files are shared, not copied."""
    recording = ingest(session, store)

    assert recording.details() == {
        "num_episodes": 2,
        "num_frames": 17,
        "num_successes": 1,
        "num_intervention_frames": 2,
        "fps": 10,
        "task": "transfer cube",
        "mode": "rollout",
        "round_index": 1,
        "cameras": ["head_camera"],
    }
    names = [str(path.relative_to(session)) for path in session.rglob("*.*") if path.is_file()]
    for name in names:
        assert (store.path(recording) / name).samefile(session / name)
    dataset = convert_recording(recording, ConvertConfig(), name="fold", store=store)
    assert dataset.parents == (recording.id,)
    assert read_frames(store.path(dataset)).num_frames == 17


def test_the_same_content_is_the_same_recording(session: Path, store: Store) -> None:
    """Found again from another path, and with a marker that a dead recorder left."""
    first = ingest(session, store)
    elsewhere = shutil.copytree(session, session.with_name("copy"))
    (min(elsewhere.iterdir()) / "RECORDING_IN_PROGRESS").write_text("4194305 1")

    assert ingest(elsewhere, store) == first
    assert ingest(session, store, round_index=2) != first


def test_mode_and_round_come_from_the_recorder_unless_they_are_given(
    session: Path, store: Store
) -> None:
    """Our recorder writes both; demonstrations are round 0 and human throughout."""
    for path in session.glob("*/metadata.json"):
        said = json.loads(path.read_text()) | {"mode": "rollout", "round_index": 3}
        path.write_text(json.dumps(said))

    assert ingest(session, store).round_index == 3
    demonstrations = ingest(session, store, mode="demonstration")
    assert (demonstrations.mode, demonstrations.round_index) == ("demonstration", 0)
    assert demonstrations.num_intervention_frames == 17


def test_a_summary_is_kept_if_there_is_one(session: Path, store: Store) -> None:
    """Recorders that write ``session_summary.json`` lose nothing."""
    (session / "session_summary.json").write_text('{"discarded": 4}')

    kept = store.path(ingest(session, store)) / "session_summary.json"

    assert json.loads(kept.read_text()) == {"discarded": 4}


def test_an_episode_in_progress_is_left_alone(
    session: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It is neither taken nor touched."""
    live = max(session.iterdir())
    marker = live / "RECORDING_IN_PROGRESS"
    marker.write_text(str(os.getpid()))
    before = {path: written_state(path) for path in live.iterdir()}

    recording = ingest(session, store)

    assert (recording.num_episodes, recording.num_frames) == (1, 8)
    assert [path.name for path in store.path(recording).glob("episode_*")] == [
        min(session.iterdir()).name
    ]
    assert caplog.text.count(f"{live.name}: it is still being recorded") == 1
    assert {path: written_state(path) for path in live.iterdir()} == before


def test_a_session_that_changes_meanwhile_is_refused(session: Path, store: Store) -> None:
    """What was described is what is published, or nothing is."""
    config = describe_session(session, store=store)
    np.save(min(session.iterdir()) / "late.npy", np.zeros(3))

    with pytest.raises(DataError, match="has changed meanwhile"):
        ingest_recording(session, config, name="fold", store=store)

    assert list(store.artifacts()) == []


def test_an_episode_that_cannot_be_read_is_kept_but_not_counted(
    session: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """So that it can be excluded by an annotation; conversion judges it."""
    broken = min(session.iterdir())
    (broken / "timestamps.npy").write_bytes(b"")

    recording = ingest(session, store)

    assert (recording.num_episodes, recording.num_frames) == (1, 9)
    assert (store.path(recording) / broken.name).is_dir()
    warning = f"not counted: episode {broken.name}: timestamps.npy cannot be read"
    assert caplog.text.count(warning) == 1


def test_a_session_of_broken_episodes_is_refused(session: Path, store: Store) -> None:
    """There is nothing to say of it, so there is no recording."""
    for path in session.glob("*/timestamps.npy"):
        path.unlink()

    with pytest.raises(DataError, match=r"none of the 2 episodes .*timestamps.npy is missing"):
        ingest(session, store)


def test_files_of_somebody_else_are_copied(
    session: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their owner could go on writing to them through a hard link."""
    owner = session.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    path = store.path(ingest(session, store))

    for copy in path.rglob("*.npy"):
        original = session / copy.relative_to(path)
        assert not copy.samefile(original)
        assert copy.read_bytes() == original.read_bytes()


def test_a_directory_without_episodes_is_refused(tmp_path: Path, store: Store) -> None:
    """Also one that is an episode itself."""
    with pytest.raises(DataError, match=r"holds no finished episode.*directory of the session"):
        ingest(tmp_path, store)


def test_a_file_that_may_not_be_read_is_one_error(session: Path, store: Store) -> None:
    """The session is named with the file, and nothing is published."""
    hidden = next(session.iterdir()) / "left_states.npz"
    hidden.chmod(0)

    with bound_by_permissions(), pytest.raises(DataError, match=f"{hidden}.*permissions"):
        ingest(session, store)

    assert not list(store.artifacts())
