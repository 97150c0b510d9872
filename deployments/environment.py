"""Prefect's settings for this process; they must be set before Prefect is imported."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_NO_PROXY = "127.0.0.1,localhost"


def configure_prefect(home: Path, server_url: str | None, *, verbose: bool = False) -> None:
    """Point this process, and those it starts, to a server, and keep Prefect quiet.

    Args:
        home: ``RECAP_HOME``; results and logs go below it.
        server_url: Address of the home's own server; None leaves the server, and the profile with
            its credentials, to the settings that the user has made.
        verbose: Leave Prefect's log on the terminal instead of ``logs/prefect.log``.
    """
    os.environ["RECAP_HOME"] = str(home)
    if server_url is not None:
        os.environ["PREFECT_API_URL"] = f"{server_url}/api"
        os.environ["PREFECT_HOME"] = str(home / "prefect")
    if not verbose:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        logging_settings = Path(__file__).with_name("prefect_logging.yml")
        os.environ["PREFECT_LOGGING_SETTINGS_PATH"] = str(logging_settings)
        os.environ["PREFECT_LOGGING_HANDLERS_FILE_FILENAME"] = str(home / "logs" / "prefect.log")
    for name, value in {
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "prefect" / "storage"),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "recap_core,tasks,flows",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",  # never a second server on the quiet
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",  # seconds from Run to running
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; what deployments.automations expects
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }.items():
        os.environ.setdefault(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # the local server is not behind a proxy
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), _NO_PROXY)))


@contextmanager
def without_heartbeats() -> Generator[None]:
    """Flows that run in the foreground send none: each would end up to a second later for it.

    Who watches a flow in the foreground sees it end; heartbeats are for runs that nobody watches.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def flush_prefect(timeout_s: float = 10.0) -> None:
    """Send the logs and events that Prefect still holds; afterwards its server may be stopped.

    Without that, the interpreter's exit waits, minutes long, for a server that is gone.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=timeout_s)


def machine_timezone() -> str:
    """IANA name of the machine's time zone: ``TZ``, else ``/etc/localtime``, else ``UTC``."""
    named = os.environ.get("TZ", "").removeprefix(":")
    linked = str(Path("/etc/localtime").resolve()).rpartition("zoneinfo/")[2]
    for name in (named, linked):
        with suppress(ZoneInfoNotFoundError, ValueError):
            return ZoneInfo(name).key
    return "UTC"


def deployment_name(project: str) -> str:
    """What the deployments of ``project/robot`` are called: Prefect's names hold no slash."""
    return project.replace("/", "-")


def ui_url() -> str:
    """Address of the UI of the server that this process is configured for."""
    return os.environ["PREFECT_API_URL"].removesuffix("/").removesuffix("/api")
