"""Prefect's cache agrees with the store, whatever happened to either."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from prefect import Task, task
from prefect.results import get_result_store

from recap_core.config.stages import InferValuesConfig
from recap_core.lineage.artifacts import Artifact, NormStats, Report, Values
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import INFER_VALUES, NORM_STATS, REPORT, NoSettings
from tasks.stage_key import StageKey
from tasks.store import open_store

pytestmark = pytest.mark.usefixtures("prefect_api", "recap_home")


@pytest.fixture(autouse=True)
def no_error_is_logged(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    """Prefect only logs errors of a cache policy, and then goes on without a cache."""
    logging.getLogger("prefect.task_runs").addHandler(caplog.handler)
    yield
    logging.getLogger("prefect.task_runs").removeHandler(caplog.handler)
    told = [r for r in caplog.records if r.name.startswith("prefect.task_runs")]
    errors = [r.getMessage() for r in told if r.levelno >= logging.ERROR]
    assert not errors


@pytest.fixture
def source(recap_home: Path) -> NormStats:
    """A published artifact to start from."""
    return published(recap_home)


def published(home: Path) -> NormStats:
    def build(area: Build) -> Built:
        (area.output / "data.txt").write_text("three frames")
        return Built({"num_frames": 3})

    artifact = Store(home).produce(NORM_STATS, NoSettings(), {}, name="source", build=build)
    assert isinstance(artifact, NormStats)
    return artifact


def run_count(home: Path) -> int:
    log = home / "executions.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def note_execution(home: Path) -> None:
    with (home / "executions.log").open("a") as log:
        log.write("run\n")


@task(cache_policy=StageKey(stage="infer_values"), result_serializer="json")
def infer(source: NormStats, config: InferValuesConfig, *, name: str) -> Values:
    """Write three values, and that it was executed."""
    store = open_store()
    note_execution(store.home)

    def build(area: Build) -> Built:
        (area.output / "values.json").write_text(config.model_dump_json())
        return Built({"num_frames": 3})

    artifact = store.produce(INFER_VALUES, config, {"source": source}, name=name, build=build)
    assert isinstance(artifact, Values)
    return artifact


@task(cache_policy=StageKey(stage="report"), result_serializer="json")
def report(source: NormStats, *, name: str) -> Report:
    """The same input as ``infer``, another stage."""
    store = open_store()
    note_execution(store.home)

    def build(area: Build) -> Built:
        (area.output / "data.txt").write_text("three frames")
        return Built({})

    artifact = store.produce(REPORT, NoSettings(), {"source": source}, name=name, build=build)
    assert isinstance(artifact, Report)
    return artifact


def run(call: Task[..., Any], *args: object) -> tuple[str, Artifact]:
    """State name and result of one run of a task."""
    state = call(*args, name="a", return_state=True)
    return state.name or "", state.result()


def test_the_second_run_of_equal_arguments_is_cached(source: NormStats, recap_home: Path) -> None:
    """It does not execute, and returns the typed artifact of the first."""
    first = run(infer, source, InferValuesConfig())
    second = run(infer, source, InferValuesConfig())

    assert (first[0], second[0]) == ("Completed", "Cached")
    assert second[1] == first[1]
    assert isinstance(second[1], Values)
    assert run_count(recap_home) == 1


def test_a_deleted_artifact_is_made_again(source: NormStats, recap_home: Path) -> None:
    """A result record of something that is gone is worth nothing."""
    _, stats = run(infer, source, InferValuesConfig())
    Store(recap_home).remove(stats)

    assert run(infer, source, InferValuesConfig()) == ("Completed", stats)
    assert run_count(recap_home) == 2
    assert run(infer, source, InferValuesConfig())[0] == "Cached"


def test_a_directory_deleted_by_hand_is_made_again(source: NormStats, recap_home: Path) -> None:
    """Also if the store was not asked to delete it."""
    _, stats = run(infer, source, InferValuesConfig())
    path = Store(recap_home).path(stats)
    path.chmod(0o755)
    shutil.rmtree(path)

    assert run(infer, source, InferValuesConfig()) == ("Completed", stats)


def test_a_damaged_artifact_is_made_again(source: NormStats, recap_home: Path) -> None:
    """One changed byte: the damaged one is moved aside, a sound one takes its place."""
    _, stats = run(infer, source, InferValuesConfig())
    store = Store(recap_home)
    file = store.path(stats) / "values.json"
    file.chmod(0o644)
    file.write_text("{}")

    assert run(infer, source, InferValuesConfig()) == ("Completed", stats)
    store.verify(stats)
    assert run_count(recap_home) == 2


def test_another_stage_with_equal_inputs_is_another_key(
    source: NormStats, recap_home: Path
) -> None:
    """Prefect's own INPUTS policy would return the first stage's result."""
    run(infer, source, InferValuesConfig())
    state, result = run(report, source)

    assert state == "Completed"
    assert isinstance(result, Report)
    assert run_count(recap_home) == 2


def test_a_changed_setting_executes_and_the_old_one_stays_cached(
    source: NormStats, recap_home: Path
) -> None:
    """Both results exist side by side."""
    plain = InferValuesConfig(use_ema=False)
    run(infer, source, InferValuesConfig())

    assert run(infer, source, plain)[0] == "Completed"
    assert run(infer, source, InferValuesConfig())[0] == "Cached"
    assert run(infer, source, plain)[0] == "Cached"
    assert run_count(recap_home) == 2


def test_a_result_published_without_a_record_is_cached(source: NormStats, recap_home: Path) -> None:
    """As after ``kill -9`` between publish and record: the store knows, Prefect does not."""

    def build(area: Build) -> Built:
        (area.output / "values.json").write_text("made elsewhere")
        return Built({"num_frames": 3})

    made = Store(recap_home).produce(
        INFER_VALUES, InferValuesConfig(), {"source": source}, name="elsewhere", build=build
    )

    assert run(infer, source, InferValuesConfig()) == ("Cached", made)
    assert run_count(recap_home) == 0


def test_a_record_of_another_artifact_is_replaced(source: NormStats, recap_home: Path) -> None:
    """The same key in another home: the record of one store does not speak for the other."""
    _, first = run(infer, source, InferValuesConfig())
    store = Store(recap_home)
    store.remove(first)

    def build(area: Build) -> Built:
        (area.output / "values.json").write_text("other bytes")
        return Built({"num_frames": 4})

    other = store.produce(
        INFER_VALUES, InferValuesConfig(), {"source": source}, name="other", build=build
    )

    assert run(infer, source, InferValuesConfig()) == ("Cached", other)


def test_an_unreadable_record_does_no_harm(source: NormStats, recap_home: Path) -> None:
    """A record cut short by a kill is overwritten from the store."""
    _, stats = run(infer, source, InferValuesConfig())
    records = get_result_store()
    key = Store(recap_home).manifest(stats).stage_key
    records.write(stats, key=key)
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

    file = PREFECT_LOCAL_STORAGE_PATH.value() / key
    assert file.exists()
    file.write_text('{"result": "{')

    assert run(infer, source, InferValuesConfig()) == ("Cached", stats)


def test_a_future_as_argument_gives_the_key_of_its_result(
    source: NormStats, recap_home: Path
) -> None:
    """Prefect resolves futures before it asks for the key."""
    from prefect import flow

    @flow
    def submitted() -> tuple[str, str]:
        copied = report.submit(source, name="a")
        state = infer.submit(copied, InferValuesConfig(), name="a", return_state=True)
        copied_artifact = copied.result()
        stats = state.result()
        parents = Store(recap_home).manifest(stats).parents
        return parents[0].id, copied_artifact.id

    parent, expected = submitted()

    assert parent == expected


def test_an_unknown_stage_is_refused_where_the_task_is_defined() -> None:
    """Not hours later, in a log."""
    with pytest.raises(ValueError, match="no stage 'normstats'; there are collect,"):
        StageKey(stage="normstats")


def test_a_cached_run_loads_no_heavy_library(source: NormStats) -> None:
    """The key, the store and the real task's module import neither JAX nor lerobot nor torch."""
    code = (
        "import sys\n"
        "import tasks.collection, tasks.datasets, tasks.training, tasks.labelling\n"
        "import tasks.evaluation, tasks.reporting, tasks.stage_key\n"
        "from recap_core.config.environment import recap_home\n"
        "from recap_core.config.stages import InferValuesConfig\n"
        "from recap_core.lineage.store import Store\n"
        "from recap_core.stages.registry import INFER_VALUES\n"
        f"store = Store(recap_home()); source = store.get({source.id!r})\n"
        "store.find(INFER_VALUES, InferValuesConfig(), {'source': source})\n"
        "heavy = {'jax', 'flax', 'lerobot', 'torch', 'mujoco', 'scipy', 'matplotlib'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)  # noqa: S603

    assert done.returncode == 0, done.stderr.decode()
