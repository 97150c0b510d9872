"""A Prefect server on PostgreSQL and on a port of its own: flows run and are cached as ever.

Needs Debian's ``postgresql``; starts a cluster of its own, away from the system's.
"""

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import asyncpg
import pytest

from deployments.server import PrefectServer
from recap_core.config.flows import ProjectConfig
from tests.ports import free_port

pytestmark = pytest.mark.slow
PASSWORD = "only-for-this-test"  # noqa: S105
FLOW = """
import sys
from flows.forms import RelabelChoice
from flows.relabeling import relabel_only
from recap_core.config.environment import recap_home
from recap_core.config.flows import ProjectConfig
from recap_core.lineage.project_files import project_name, save_project
from tests.core.stages.value_inference import store_inputs
project = ProjectConfig.model_validate_json(sys.stdin.read())
save_project(recap_home(), project)
dataset, model, store = store_inputs(recap_home())
data = RelabelChoice(dataset=dataset.id, value_model=model.id)
first = relabel_only(project_name(project), data=data)
assert relabel_only(project_name(project), data=data) == first
"""
NUM_STAGES = 4
"""Values, labels, copy, relabel."""
COUNTS = {
    "flows": "select count(*) from flow_run where state_type = 'COMPLETED'",
    "cached": "select count(*) from task_run where state_name = 'Cached'",
    "completed": "select count(*) from task_run where state_name = 'Completed'",
}


def find_binaries() -> Path:
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not candidates:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return candidates[0]


@pytest.fixture(scope="module")
def postgres() -> Generator[str]:
    """Address of a cluster below /tmp; root, whom initdb refuses, lets the user postgres run it."""
    binaries, port = find_binaries(), free_port()
    is_root = os.geteuid() == 0
    user = pwd.getpwnam("postgres").pw_name if is_root else None
    with tempfile.TemporaryDirectory(prefix="recap-pg-", dir="/tmp") as name:
        home = Path(name)
        (home / "password").write_text(PASSWORD)
        if user is not None:
            for path in (home, home / "password"):
                shutil.chown(path, user)

        def run(*command: str) -> None:
            subprocess.run(  # noqa: S603 - PostgreSQL's own commands
                [str(binaries / command[0]), *command[1:]],
                check=True,
                user=user,
                cwd=home,
                stdout=subprocess.DEVNULL,
            )

        data = str(home / "data")
        run("initdb", "-D", data, "-U", "prefect", "--auth=scram-sha-256", "--no-sync",
            "--pwfile", str(home / "password"), "-E", "UTF8", "--locale", "C.UTF-8")  # fmt: skip
        settings = f"-c listen_addresses=127.0.0.1 -p {port} -k {home} -c fsync=off"
        wait = ("-w", "-t", "500")
        run("pg_ctl", "-D", data, *wait, "-l", str(home / "log"), "-o", settings, "start")
        try:
            yield f"postgresql://prefect:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, *wait, "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def api_url(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """``prefect server start`` as an installation runs it, with PostgreSQL and another port."""
    home, port = tmp_path_factory.mktemp("server"), free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment = kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_DATABASE_CONNECTION_URL": postgres.replace("://", "+asyncpg://"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    server = PrefectServer(f"http://127.0.0.1:{port}", is_shared=False)
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,  # noqa: S603
    ):
        try:
            deadline = time.monotonic() + 500
            while not server.is_healthy():
                assert process.poll() is None, (home / "log").read_text()
                assert time.monotonic() < deadline, (home / "log").read_text()
                time.sleep(0.2)
            yield server.api_url
        finally:
            process.terminate()


def run_twice(project: ProjectConfig, api_url: str, home: Path) -> None:
    """The flow in a process of its own, which reads the server's address when Prefect loads."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", FLOW],
        input=project.model_dump_json(),
        cwd=Path(__file__).parents[2],
        env=kept | {"PREFECT_API_URL": api_url, "PREFECT_HOME": str(home), "RECAP_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def counts(url: str) -> dict[str, int]:
    """What the database itself says."""
    connection = await asyncpg.connect(url)
    try:
        return {name: await connection.fetchval(query) for name, query in COUNTS.items()}
    finally:
        await connection.close()


def test_a_flow_runs_on_postgresql_and_is_cached_the_second_time(
    postgres: str, api_url: str, small_project: ProjectConfig, tmp_path: Path
) -> None:
    """The database itself says so: as many stages are ``Cached`` as were completed before."""
    run_twice(small_project, api_url, tmp_path)

    found = asyncio.run(counts(postgres))
    assert found["flows"] == 2
    assert found["completed"] == found["cached"] == NUM_STAGES
