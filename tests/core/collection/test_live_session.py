"""Directories of live sessions: names, summaries, and what killed recorders leave."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from recap_core.collection.live_session import (
    LiveSession,
    SessionSettings,
    delete_whole,
    episode_owner,
    recover,
    session_name,
)
from recap_core.data.inbox import find_sessions
from recap_core.errors import EpisodeError

NOW_S = 1_700_000_000.0
DEAD = "999999999 12345"
METADATA = {"success": True, "num_steps": 12, "intervention_count": 1, "duration_s": 0.4}


def opened(base: Path) -> LiveSession:
    return LiveSession(base, SessionSettings("Fold it"), {"operator": "Ada"}, NOW_S)


def finish(session: LiveSession) -> Path:
    """An episode as far as a session knows it: a directory with metadata."""
    directory = session.open_episode(NOW_S)
    (directory / "metadata.json").write_text(json.dumps(METADATA))
    (directory / "RECORDING_IN_PROGRESS").unlink()
    session.add(directory.name, METADATA)
    session.write_summary()
    return directory


def kill(session: LiveSession) -> None:
    """As if its process had been killed."""
    host = socket.gethostname()
    (session.directory / "SESSION_IN_PROGRESS").write_text(f"{DEAD} {host}\n")
    for marker in session.directory.rglob("RECORDING_IN_PROGRESS"):
        marker.write_text(DEAD + "\n")


def summary_of(session: LiveSession) -> dict[str, Any]:
    return json.loads((session.directory / "session_summary.json").read_text())


def problem(session: LiveSession) -> str | None:
    """What the inbox says."""
    found = find_sessions(session.directory.parent, now_s=4e9, quiet_s=60.0)
    return {f.path: f.problem for f in found}[session.directory]


@pytest.mark.parametrize(
    ("task", "slug"),
    [
        ("Fold the T-shirt, neatly!", "fold_the_t_shirt_neatly"),
        ("ABC " * 30, "abc_" * 12 + "ab"),
        ("折り畳む", "session"),
    ],
)
def test_a_session_is_called_after_its_task(task: str, slug: str) -> None:
    """At most 50 characters that every file system takes, then the time."""
    name, _, _ = session_name(task, NOW_S).rpartition("_202")
    assert name == slug


def test_two_sessions_of_one_second_do_not_share(tmp_path: Path) -> None:
    """The second gets a number; so does one whose name is somebody's file."""
    first, second = opened(tmp_path), opened(tmp_path)
    assert second.directory.name == first.directory.name + "_2"
    assert second.open_episode(NOW_S).parent != first.open_episode(NOW_S).parent


def test_episodes_are_numbered_over_the_session(tmp_path: Path) -> None:
    """Discarded ones included, so that no name comes twice."""
    session = opened(tmp_path)
    finish(session)
    delete_whole(session.open_episode(NOW_S))
    assert finish(session).name.endswith("_0002")


def test_a_base_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Before anything is recorded."""
    (tmp_path / "file").touch()
    with pytest.raises(EpisodeError, match=r"file/base.*base_dir"):
        opened(tmp_path / "file" / "base")


def test_the_summary_is_true_after_every_episode(tmp_path: Path) -> None:
    """Counts, sums and a list."""
    session = opened(tmp_path)
    assert summary_of(session)["episodes"] == 0
    names = [finish(session).name, finish(session).name]
    found = summary_of(session)
    expected = {"task": "Fold it", "mode": "rollout", "operator": "Ada", "episodes": 2,
                "successful": 2, "discarded": 0, "duration_s": 0.8, "is_open": True}  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert [entry["dir"] for entry in found["per_episode"]] == names
    assert found["per_episode"][0] == {
        "dir": names[0], "success": True, "step_count": 12, "intervention_count": 1,
        "duration_s": 0.4}  # fmt: skip


def test_an_open_session_stays_out_of_the_inbox(tmp_path: Path) -> None:
    """Until it is closed, though every episode in it is finished."""
    session = opened(tmp_path)
    finish(session)
    assert problem(session) == "it is still being recorded"
    session.close()
    assert problem(session) is None


def test_a_killed_session_is_whole(tmp_path: Path) -> None:
    """The inbox takes it before and after it is put in order; not a byte of it changes."""
    session = opened(tmp_path)
    finish(session)
    session.open_episode(NOW_S)
    kill(session)
    before = (session.directory / "session_summary.json").read_bytes()
    assert problem(session) is None
    found = recover(tmp_path)
    assert found == (1, 0, (session.directory.name,))
    assert found.sentence() == (
        "a recorder was killed before: 1 unfinished episode removed; what was saved is whole, in "
        f"{session.directory.name}"
    )
    assert recover(tmp_path).sentence() is None
    assert problem(session) is None
    assert (session.directory / "session_summary.json").read_bytes() == before
    assert len(list(session.directory.iterdir())) == 2


def test_a_summary_that_lacks_an_episode_is_corrected(tmp_path: Path) -> None:
    """Killed between the episode and the summary: the inbox waits until it is true."""
    session = opened(tmp_path)
    finish(session)
    episode = finish(session)
    lacking = summary_of(session)
    lacking["per_episode"].pop()
    (session.directory / "session_summary.json").write_text(
        json.dumps({**lacking, "episodes": 1, "successful": 1})
    )
    (episode / "RECORDING_IN_PROGRESS").write_text("")
    kill(session)
    assert "before its session_summary.json counted" in (problem(session) or "")
    recover(tmp_path)
    assert (summary_of(session)["episodes"], summary_of(session)["successful"]) == (2, 2)
    assert summary_of(session)["operator"] == "Ada"
    assert not (episode / "RECORDING_IN_PROGRESS").exists()
    assert problem(session) is None


def test_what_was_half_made_or_half_deleted_goes(tmp_path: Path) -> None:
    """Hidden directories of killed recorders, of episodes and of sessions."""
    session = opened(tmp_path)
    finish(session)
    (session.directory / ".opening_episode_1").mkdir()
    (session.directory / ".discarded_episode_2").mkdir()
    (session.directory / ".session_summary.json.partial").write_text("{")
    kill(session)
    half = tmp_path / ".opening_fold_it_20250101_000000_1"
    shutil.copytree(session.directory, half)
    recover(tmp_path)
    assert not half.exists()
    assert len(list(session.directory.iterdir())) == 2


def test_interrupted_episodes_can_be_kept(tmp_path: Path) -> None:
    """For people: they have no metadata, so nothing reads them."""
    session = opened(tmp_path)
    episode = session.open_episode(NOW_S)
    kill(session)
    assert recover(tmp_path, interrupted="keep") == (0, 1, ())
    assert episode.is_dir()


def test_live_recorders_are_left_alone(tmp_path: Path) -> None:
    """Of this process, and of another machine, whatever their numbers say."""
    session, remote = opened(tmp_path), opened(tmp_path)
    half, far = session.open_episode(NOW_S), remote.open_episode(NOW_S)
    kill(remote)
    (remote.directory / "SESSION_IN_PROGRESS").write_text(f"{DEAD} another-machine\n")
    assert recover(tmp_path) == (0, 0, ())
    assert half.is_dir()
    assert far.is_dir()


def test_other_recorders_sessions_are_swept_too(tmp_path: Path) -> None:
    """Without our marker; a live one's episode stays, as does what is no session."""
    for name, owner in (("dead", DEAD), ("alive", episode_owner())):
        (tmp_path / name / "episode_1").mkdir(parents=True)
        (tmp_path / name / "episode_1" / "RECORDING_IN_PROGRESS").write_text(owner)
    (tmp_path / "notes").mkdir()
    assert recover(tmp_path) == (1, 0, ())
    assert not (tmp_path / "dead" / "episode_1").exists()
    assert (tmp_path / "alive" / "episode_1").exists()


def test_a_damaged_session_does_not_keep_the_next_from_beginning(tmp_path: Path) -> None:
    """Its summary is no JSON: it is left as it is."""
    session = opened(tmp_path)
    finish(session)
    kill(session)
    (session.directory / "session_summary.json").write_text("{")
    recover(tmp_path)
    assert (session.directory / "SESSION_IN_PROGRESS").exists()


def test_a_copy_of_an_open_session_waits(tmp_path: Path) -> None:
    """On another machine nobody knows whether the recorder lives; a closed summary does."""
    session = opened(tmp_path)
    finish(session)
    marker = session.directory / "SESSION_IN_PROGRESS"
    session.close()
    marker.write_text("1 2 another-machine\n")  # a copy that deletes nothing keeps it
    assert problem(session) is None
    session.write_summary(is_open=True)
    assert "on another machine when it was copied" in (problem(session) or "")
    marker.unlink()
    assert problem(session) is None
