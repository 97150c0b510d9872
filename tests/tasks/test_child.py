"""Stages in real child processes: same result, same error, and never a process left behind."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import State, StateType

from recap_core.config.collection import CollectConfig, CollectRuntime
from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.inference import InferRuntime
from recap_core.config.isolation import AcceleratorRuntime
from recap_core.config.robot import SimRobotConfig
from recap_core.config.stages import InferValuesConfig
from recap_core.errors import (
    ConfigError,
    StageProcessError,
    StageTimeoutError,
    UnhealthyValueModelError,
)
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.device_lock import WAITING, device_lock
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Bar, Progress, Silent
from recap_core.stages.infer_values import infer_values
from recap_core.stages.registry import TRAIN_POLICY, NoSettings
from tasks.child import _error, run_in_child
from tasks.child_events import failure
from tasks.child_job import Job, decode_arguments, encode
from tests.core.stages.value_inference import store_inputs
from tests.stage_processes import descendants, is_stage, until

ENDLESS = CollectConfig(
    mode="demonstration", num_episodes=100_000, robot=SimRobotConfig(cameras=())
)
LOG = logging.getLogger("tests.child")

PARENT = """
import logging, signal, sys
from pathlib import Path
from types import SimpleNamespace
from recap_core.config.collection import CollectConfig, CollectRuntime
from recap_core.lineage.store import Store
from recap_core.progress import Silent
from tasks.child import run_in_child

logging.basicConfig(level=logging.INFO)
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
config = CollectConfig.model_validate_json(sys.argv[2])
arguments = {"policy": None, "config": config, "name": "endless"}
runtime = CollectRuntime(cancel_grace_s=300)
store = Store(Path(sys.argv[1]))
run_in_child(
    "collect", arguments, runtime, store=store, progress=Silent(), log=logging.getLogger("run")
)
"""


class Seen:
    """Remembers labels and positions of bars, and may do something when one opens."""

    def __init__(self, opened: Callable[[str], object] = lambda label: label) -> None:
        self.bars: list[tuple[str, int]] = []
        self._opened = opened

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """Remember label and total."""
        del done
        self._opened(label)
        self.bars.append((label, total))
        yield self

    def update(self, done: int, note: str = "") -> None:
        """Remember a position."""
        del note
        self.bars.append(("at", done))


def collect(home: Path, runtime: AcceleratorRuntime, progress: Progress = Silent()) -> None:
    """The expert's demonstrations in a child process: no JAX, and no end."""
    arguments = {"policy": None, "config": ENDLESS, "name": "endless"}
    run_in_child("collect", arguments, runtime, store=Store(home), progress=progress, log=LOG)


def children() -> set[int]:
    """Processes that run a stage for this one."""
    return {pid for pid in descendants(os.getpid()) if is_stage(pid)}


def test_the_result_is_that_of_the_stage(
    recap_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same artifact; its log and its progress are seen, and no process is left."""
    dataset, model, store = store_inputs(recap_home)
    config = InferValuesConfig(frames="rollouts")
    arguments = {"dataset": dataset, "value_model": model, "config": config, "name": "values"}
    runtime = InferRuntime(batch_size=4, shard_frames=4)
    inline = infer_values(**arguments, runtime=runtime, store=store)
    store.remove(inline)
    seen = Seen()

    with caplog.at_level(logging.INFO):
        made = run_in_child(
            "infer_values",
            arguments | {"runtime": runtime},
            runtime,
            store=store,
            progress=seen,
            log=LOG,
        )

    assert made == inline
    assert seen.bars
    assert "frames/s" in caplog.text
    assert not children()


def test_an_error_of_the_child_is_raised_here(recap_home: Path) -> None:
    """Same class, same message, and its traceback as a note."""
    arguments = {"policy": None, "config": CollectConfig(mode="rollout"), "name": "none"}

    with pytest.raises(ConfigError, match="rollouts need a policy") as caught:
        run_in_child(
            "collect",
            arguments,
            CollectRuntime(),
            store=Store(recap_home),
            progress=Silent(),
            log=LOG,
        )

    assert "collect_recording" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "error",
    [
        UnhealthyValueModelError("cannot rank"),
        FileNotFoundError(2, "No such file or directory", "/a/b"),
        OSError(5, "Input/output error"),
        ValueError("no number"),
    ],
)
def test_errors_keep_class_and_text(error: Exception) -> None:
    """So that a retry is decided, and one line is printed, as if the stage had run here."""
    again = _error(failure(error))

    assert type(again) is type(error)
    assert str(again) == str(error)


def test_an_unknown_error_says_its_class() -> None:
    """For instance one of a library that this process has not loaded."""
    kind = type("XlaRuntimeError", (RuntimeError,), {})

    assert str(_error(failure(kind("out of memory")))) == "XlaRuntimeError: out of memory"


def test_its_time_out_ends_a_child(recap_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends by itself, long before the grace is over; the error says the limit and what to do."""
    passed_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s)
    monkeypatch.setattr("tasks.child.time", clock)

    def let_hours_pass(label: str) -> None:
        nonlocal passed_s
        del label
        passed_s = 7200

    runtime = CollectRuntime(timeout_s=3600, cancel_grace_s=3600)
    with pytest.raises(StageTimeoutError, match=r"timeout_s \(3600 s\).*raise timeout_s"):
        collect(recap_home, runtime, Seen(let_hours_pass))

    assert not children()
    assert not list(recap_home.glob(".tmp-*"))


def test_waiting_for_a_device_takes_none_of_its_time(
    recap_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is seen here, hours of it; cancelling it ends the child."""
    monkeypatch.setenv("RECAP_DEVICES", "left")
    monkeypatch.setenv("RECAP_DEVICE_LOCKS", str(tmp_path / "locks"))
    waited_s = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + waited_s)
    monkeypatch.setattr("tasks.child.time", clock)
    policy = published_policy(Store(recap_home))
    config = EvaluationConfig(num_episodes=1, robot=SimRobotConfig(cameras=()))

    class Patient(Seen):
        def update(self, done: int, note: str = "") -> None:
            nonlocal waited_s
            assert f"pid {os.getpid()}" in note
            super().update(done)
            waited_s += 3600
            if len(self.bars) > 3:
                raise KeyboardInterrupt

    seen = Patient()
    with device_lock(), pytest.raises(KeyboardInterrupt):
        run_in_child(
            "evaluate",
            {"policy": policy, "config": config, "name": "never"},
            CollectRuntime(timeout_s=600, cancel_grace_s=3600),
            store=Store(recap_home),
            progress=seen,
            log=LOG,
        )

    assert seen.bars[0] == (f"{WAITING}left", 1)
    assert not children()


def published_policy(store: Store) -> PolicyCheckpoint:
    """One that is never read."""

    def build(area: Build) -> Built:
        (area.output / "data.txt").write_text("no parameters")
        return Built({"num_steps": 1, "num_params": 1})

    return store.produce(TRAIN_POLICY, NoSettings(), {}, name="policy", build=build)


def test_a_killed_child_is_an_error_that_may_pass(recap_home: Path) -> None:
    """It names the signal; the task is tried once more, unless its time was over."""

    def kill(label: str) -> None:
        del label
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(StageProcessError, match="SIGKILL and told no result") as caught:
        collect(recap_home, CollectRuntime(), progress=Seen(kill))

    assert is_retried(caught.value)
    assert not is_retried(StageTimeoutError("over"))


def is_retried(error: Exception) -> bool:
    from tasks.collection import collect as task
    from tasks.retries import is_transient

    state: State[Any] = State(type=StateType.FAILED, data=error)
    return is_transient(task, None, state)  # pyright: ignore[reportArgumentType] - not looked at


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_its_parent(number: signal.Signals, recap_home: Path) -> None:
    """Killed or told to stop; and its draft goes with it or with the next opening."""
    command = [sys.executable, "-c", PARENT, str(recap_home), ENDLESS.model_dump_json()]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:  # noqa: S603 - our own
        (pid,) = until(lambda: [p for p in descendants(parent.pid) if is_stage(p)])
        until(lambda: any(recap_home.glob("work/*/session/*")))
        os.kill(parent.pid, number)
        parent.wait()
        until(lambda: not is_stage(pid))

    Store(recap_home)
    assert not [path for path in recap_home.glob(".tmp-*") if path.is_dir()]


def test_a_child_loads_no_orchestrator() -> None:
    """It starts in a second, and a broken server cannot harm it."""
    code = "import sys, tasks.child_main; sys.exit('prefect' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own


def job(arguments: dict[str, Any]) -> Job:
    return Job(
        stage="collect", home=Path("/h"), arguments=arguments, cancel_grace_s=1, parent_pid=1
    )


def test_arguments_come_back_as_they_were(recap_home: Path) -> None:
    """Settings by class and values, artifacts by id."""
    dataset, model, store = store_inputs(recap_home)
    arguments = {
        "dataset": dataset,
        "value_model": model,
        "config": InferValuesConfig(frames="rollouts"),
        "runtime": InferRuntime(batch_size=4),
        "name": "values",
    }
    written = job({name: encode(value) for name, value in arguments.items()})
    read = Job.model_validate_json(written.model_dump_json())

    decoded = decode_arguments(read.model_copy(update={"stage": "infer_values"}), store)

    assert decoded == arguments


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"config": {"config": "os.system", "values": {}}}, "cannot be a os.system"),
        ({"command": "rm"}, "takes no 'command'"),
        ({"config": {"code": 1}}, "is no argument of a stage"),
    ],
)
def test_a_job_holds_only_what_its_stage_takes(
    arguments: dict[str, Any], complaint: str, recap_home: Path
) -> None:
    """Nothing that a job file names is imported or run."""
    with pytest.raises(ConfigError, match=complaint):
        decode_arguments(job(arguments), Store(recap_home))


def test_what_is_no_argument_is_refused() -> None:
    """Before a process is started."""
    with pytest.raises(ConfigError, match="a set cannot be passed"):
        encode({1})
