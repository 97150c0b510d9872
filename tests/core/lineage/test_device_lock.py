"""One job per accelerator."""

import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recap_core.config.environment import device_locks_dir, devices
from recap_core.errors import ArtifactError
from recap_core.lineage.device_lock import WAITING, device_lock
from recap_core.progress import Bar
from tests.stage_processes import until

HOLD = """
import sys
from recap_core.lineage.device_lock import device_lock
with device_lock():
    print("held", flush=True)
    sys.stdin.read()
"""


class Seen:
    """Remembers what a bar showed."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.notes: list[str] = []

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """Remember its label."""
        del total, done
        self.labels.append(label)
        yield self

    def update(self, done: int, note: str = "") -> None:
        """Remember the remark."""
        del done
        self.notes.append(note)


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two devices of this test's own."""
    monkeypatch.setenv("RECAP_DEVICES", "left,right")
    monkeypatch.setenv("RECAP_DEVICE_LOCKS", str(tmp_path / "locks"))
    return tmp_path / "locks"


@pytest.fixture
def holder(locks: Path) -> Generator[subprocess.Popen[str]]:
    """Another process that has the device."""
    del locks
    process = subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RECAP_DEVICES": "right"},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def waiting(seen: Seen) -> threading.Thread:
    """A thread that takes the devices, once it is seen to wait."""

    def take() -> None:
        with device_lock(seen):
            pass

    thread = threading.Thread(target=take)
    thread.start()
    until(lambda: seen.notes)
    return thread


def test_a_wait_is_seen_and_names_the_holder(holder: subprocess.Popen[str]) -> None:
    """And ends when the holder is killed, for the lock dies with it."""
    seen = Seen()
    thread = waiting(seen)

    assert seen.labels == [f"{WAITING}right"]
    assert f"pid {holder.pid}" in seen.notes[0]
    assert thread.is_alive()
    holder.kill()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_free_device_is_taken_at_once(locks: Path) -> None:
    """Nobody sees a wait, and no lock file stays."""
    seen = Seen()

    with device_lock(seen):
        assert sorted(path.name for path in locks.iterdir()) == ["left", "right"]

    assert seen.labels == []
    assert list(locks.iterdir()) == []


def test_on_a_cpu_nothing_is_locked(locks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of processes may compute on it."""
    monkeypatch.setenv("RECAP_DEVICES", "none")

    with device_lock(), device_lock():
        assert not locks.exists()


def test_a_directory_that_cannot_be_written_is_named(
    locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the setting that says where else."""
    locks.write_text("a file")
    monkeypatch.setenv("RECAP_DEVICE_LOCKS", str(locks / "below"))

    with pytest.raises(ArtifactError, match=r"device left cannot be locked.*RECAP_DEVICE_LOCKS"):
        device_lock().__enter__()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RECAP_DEVICES": "b, a"}, ("a", "b")),
        ({"RECAP_DEVICES": "none"}, ()),
        ({"JAX_PLATFORMS": "cpu"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, ("nvidia0", "nvidia1")),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f"}, ("GPU-8f",)),
        ({}, ("nvidia0", "nvidia1", "nvidia2")),
    ],
)
def test_the_devices_are_those_that_jax_would_use(
    environment: dict[str, str],
    expected: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a host with three."""
    for name in ("RECAP_DEVICES", "JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cards = [Path(f"/dev/nvidia{i}") for i in (2, 0, 1)]
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(cards))  # noqa: ARG005 - as Path's

    assert devices() == expected


def test_by_default_all_stores_of_a_user_share_the_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie among the host's temporary files."""
    monkeypatch.delenv("RECAP_DEVICE_LOCKS", raising=False)

    assert device_locks_dir().name == f"recap-devices-{os.getuid()}"
