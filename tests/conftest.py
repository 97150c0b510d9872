"""Settings that every test runs under."""

import atexit
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.ports import free_port

if TYPE_CHECKING:
    from tests.generated_store import GeneratedStore
    from tests.simulated_values import SimulatedValues

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile more than they compute: optimised code would take three times as long to make.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")


def _share_compiled_programs() -> None:
    """What one test compiled, no other one compiles, in no worker and no process of a test."""
    owner, programs = os.getpid(), tempfile.mkdtemp(prefix="recap-tests-xla-")

    def remove() -> None:
        if os.getpid() == owner:  # not at the end of a fork
            shutil.rmtree(programs, ignore_errors=True)

    atexit.register(remove)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs


if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _share_compiled_programs()
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "300")
os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "300")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# What is printed is as plain and as wide as in a pipe, whatever terminal or CI the tests run in.
os.environ["COLUMNS"] = "80"
for _forced in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TERMINAL_WIDTH"):
    os.environ.pop(_forced, None)


# However slow a machine is, and however often a commit is tested, the examples are the same;
# `make stress` draws others every time.
settings.register_profile(
    "recap",
    deadline=None,
    derandomize=not os.environ.get("RECAP_LONG"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("recap")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has jobs in the background ignore Ctrl-C; tests press it, and children inherit this.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, else one of several workers ends with them alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: ("e2e" not in item.path.parts, item.path not in slow))


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """One Prefect server, its files in a directory of its own, for all tests that need one."""
    from prefect.settings import (
        PREFECT_HOME,
        PREFECT_LOCAL_STORAGE_PATH,
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    home = tmp_path_factory.mktemp("prefect")
    updates: dict[Any, Any] = {
        PREFECT_HOME: home,
        PREFECT_LOCAL_STORAGE_PATH: home / "storage",
        PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore",
    }
    with pytest.MonkeyPatch.context() as patch:
        # Its own would be taken by another server, and then that one would answer.
        patch.setattr("prefect.testing.utilities._find_available_port", free_port)
        with temporary_settings(updates), prefect_test_harness(server_startup_timeout=500):
            yield


@pytest.fixture(scope="module")
def own_garbage() -> Generator[None]:
    """What a module leaves to the garbage collector is not found in the middle of another one."""
    yield
    gc.collect()


@pytest.fixture
def recap_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store for tasks and flows."""
    home = tmp_path / "home"
    monkeypatch.setenv("RECAP_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> "SimulatedValues":
    """Simulated episodes and their value models, made once and shared."""
    from tests.simulated_values import simulated_values

    return simulated_values(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="session")
def finished_rounds(tmp_path_factory: pytest.TempPathFactory) -> "GeneratedStore":
    """Two projects with three rounds and one, made once and shared; nobody changes it."""
    from tests.generated_store import generate_store

    return generate_store(tmp_path_factory.mktemp("rounds"), num_iterations=3, num_other=1)


@pytest.fixture(scope="session")
def eight_rounds(tmp_path_factory: pytest.TempPathFactory) -> "GeneratedStore":
    """A store with two projects, eight rounds and one, to be read only; made once and shared."""
    from tests.generated_store import generate_store

    return generate_store(tmp_path_factory.mktemp("rounds"), num_iterations=8, num_other=1)
