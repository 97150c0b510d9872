"""Finding, producing and looking up artifacts."""

import json
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from lineage_toys import (
    STATS,
    ToyConfig,
    left_over,
    make_stats,
    writes,
)

from recap_core.errors import (
    ArtifactError,
)
from recap_core.lineage.artifacts import NormStats
from recap_core.lineage.keys import stage_key
from recap_core.lineage.store import Build, Built, Store


def test_opening_and_asking_creates_nothing(tmp_path: Path) -> None:
    """An empty store has no files at all."""
    store = Store(tmp_path / "home")

    assert store.find(STATS, ToyConfig(), {}) is None
    assert list(store.artifacts()) == []
    assert store.refs() == {}
    assert not store.home.exists()


def test_a_produced_artifact_is_found_and_described(store: Store) -> None:
    """Handle, directory and manifest say the same."""
    calls: list[Path] = []
    config = ToyConfig(text="abc")
    build = writes("abc", calls=calls)

    artifact = store.produce(STATS, config, {}, name="stats", build=build)

    assert store.find(STATS, config, {}) == artifact
    assert store.produce(STATS, config, {}, name="other", build=build) == artifact
    assert len(calls) == 1
    assert isinstance(artifact, NormStats)
    assert artifact.num_frames == 3
    path = store.path(artifact)
    assert path == store.home / "artifacts" / "norm-stats" / f"stats-{artifact.id[:8]}"
    assert (path / "sub" / "a.txt").read_text() == "abc"
    manifest = store.manifest(artifact)
    assert (manifest.config, manifest.metrics) == ({"text": "abc"}, {"loss": 0.5})
    assert (manifest.stage, manifest.stage_version) == ("toy_stats", 1)
    assert manifest.started_at < manifest.finished_at
    assert left_over(store) == []


def test_everything_published_is_read_only(store: Store) -> None:
    """Files and directories, down to the last."""
    path = store.path(make_stats(store))

    modes = [stat.S_IMODE(p.stat().st_mode) for p in [path, *path.rglob("*")]]
    assert len(modes) == 5
    assert not any(mode & 0o222 for mode in modes)


def test_other_settings_give_another_artifact(store: Store) -> None:
    """Equal content under another key is a node of its own."""
    a = store.produce(STATS, ToyConfig(), {}, name="stats", build=writes())
    b = store.produce(STATS, ToyConfig(scale=2), {}, name="stats", build=writes())

    assert a.digest == b.digest
    assert a.id != b.id
    assert [m.id for m in store.artifacts()] == [a.id, b.id]


def test_metrics_that_are_no_numbers_become_none(store: Store) -> None:
    """JSON has no NaN; hours of work are not lost over one."""

    def build(build: Build) -> Built:
        (build.output / "x").touch()
        return Built({"num_frames": 1}, {"nan": float("nan"), "inf": -float("inf"), "one": 1.0})

    artifact = store.produce(STATS, ToyConfig(), {}, name="a", build=build)

    assert store.manifest(artifact).metrics == {"nan": None, "inf": None, "one": 1.0}


@pytest.mark.parametrize("name", ["", "A", ".hidden", "../up", "a/b", "a b", "x" * 65, "ä", "a\n"])
def test_a_name_cannot_leave_the_store(store: Store, name: str) -> None:
    """Only plain lower-case names."""
    with pytest.raises(ArtifactError, match="no valid artifact name"):
        store.produce(STATS, ToyConfig(), {}, name=name, build=writes())
    assert not store.home.exists()


def test_a_failed_build_keeps_its_work_and_nothing_else(store: Store) -> None:
    """The next try resumes from it; once published, it is gone."""
    tries: list[bool] = []

    def build(build: Build) -> Built:
        tries.append((build.work / "checkpoint").exists())
        (build.work / "checkpoint").touch()
        (build.output / "half").touch()
        if len(tries) == 1:
            raise ValueError("power")
        return Built({"num_frames": 1})

    with pytest.raises(ValueError, match="power"):
        store.produce(STATS, ToyConfig(), {}, name="a", build=build)
    assert left_over(store) == [stage_key(STATS, ToyConfig(), {})]
    assert list(store.artifacts()) == []
    store.produce(STATS, ToyConfig(), {}, name="a", build=build)

    assert tries == [False, True]
    assert left_over(store) == []


def test_a_full_disk_is_said_plainly(store: Store) -> None:
    """A real "no space left" from the kernel, wrapped by a library; nothing becomes visible."""

    def build(build: Build) -> Built:
        (build.output / "half").write_text("half")
        try:
            with Path("/dev/full").open("wb", buffering=0) as file:
                file.write(b"x")
        except OSError as error:
            raise RuntimeError("encoder failed") from error
        return Built({})

    with pytest.raises(ArtifactError, match=r"no space left while stage 'toy_stats'.*recap gc"):
        store.produce(STATS, ToyConfig(), {}, name="a", build=build)
    assert left_over(store) == []
    assert list(store.artifacts()) == []


@pytest.mark.parametrize("case", ["empty", "manifest", "link", "details", "removed"])
def test_an_output_that_cannot_be_published_is_refused(store: Store, case: str) -> None:
    """Nothing in it, the store's own file, a symbolic link, wrong details, no directory."""

    def build(build: Build) -> Built:
        if case != "empty":
            (build.output / "x").touch()
        if case == "manifest":
            (build.output / "artifact.json").touch()
        if case == "link":
            (build.output / "y").symlink_to("x")
        if case == "removed":
            shutil.rmtree(build.output)
        return Built({"num_frames": 0 if case == "details" else 1})

    pattern = {
        "empty": "left its output empty",
        "manifest": r"wrote artifact\.json",
        "link": "is a symbolic link",
        "details": "do not describe a norm_stats",
        "removed": "removed its output",
    }[case]
    with pytest.raises(ArtifactError, match=pattern):
        store.produce(STATS, ToyConfig(), {}, name="a", build=build)
    assert left_over(store) == []


def test_details_that_json_cannot_hold_are_refused(store: Store) -> None:
    """Metrics must be numbers."""

    def build(build: Build) -> Built:
        (build.output / "x").touch()
        return Built({"num_frames": 1}, {"loss": "low"})  # pyright: ignore[reportArgumentType] - the mistake under test

    with pytest.raises(ArtifactError, match="described its result wrongly"):
        store.produce(STATS, ToyConfig(), {}, name="a", build=build)


def test_a_build_may_make_its_output_anew(store: Store) -> None:
    """Some libraries insist on creating their directory themselves."""

    def build(build: Build) -> Built:
        build.output.rmdir()
        build.output.mkdir()
        (build.output / "x").touch()
        return Built({"num_frames": 1})

    store.verify(store.produce(STATS, ToyConfig(), {}, name="a", build=build))


def test_many_files_are_published(store: Store) -> None:
    """More than are forced to the disk one by one."""

    def build(build: Build) -> Built:
        for i in range(20):
            (build.output / str(i)).write_text(str(i))
        return Built({"num_frames": 20})

    artifact = store.produce(STATS, ToyConfig(), {}, name="a", build=build)

    store.verify(artifact)
    assert len(list(store.path(artifact).iterdir())) == 21


def test_a_handle_tells_its_details(store: Store) -> None:
    """What the manifest keeps beside the common fields."""
    artifact = make_stats(store)

    assert artifact.details() == store.manifest(artifact).details == {"num_frames": 5}


def test_two_processes_build_a_key_once(store: Store, tmp_path: Path) -> None:
    """The second one waits and returns the first one's result."""
    script = Path(__file__).with_name("lineage_toys.py")
    log = tmp_path / "log"
    command = [sys.executable, str(script), str(store.home), str(log)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - our own script
        for _ in range(2)
    ]
    ids = [process.communicate()[0].decode() for process in processes]

    found = store.find(STATS, ToyConfig(), {})
    assert found is not None
    assert ids == [found.id, found.id]
    assert log.read_text() == "built\n"


def test_threads_build_a_key_once(store: Store) -> None:
    """Eight threads of one process, one build."""
    calls: list[Path] = []
    results: list[str] = []

    def produce() -> None:
        build = writes(calls=calls)
        results.append(store.produce(STATS, ToyConfig(), {}, name="a", build=build).id)

    threads = [threading.Thread(target=produce) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(calls) == 1
    assert len(results) == 8
    assert len(set(results)) == 1


def test_the_manifest_is_json_that_people_can_read(store: Store) -> None:
    """Indented, ending in a newline."""
    path = store.path(make_stats(store)) / "artifact.json"

    assert json.loads(path.read_text())["kind"] == "norm_stats"
    assert path.read_text().startswith('{\n  "schema_version": 1,\n')


def test_importing_the_store_loads_no_heavy_library() -> None:
    """A cached path costs milliseconds."""
    code = (
        "import sys, recap_core.lineage.store, recap_core.lineage.rendering; "
        "print([m for m in ('jax', 'pyarrow', 'lerobot', 'prefect', 'numpy') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own

    assert done.stdout == "[]\n"
