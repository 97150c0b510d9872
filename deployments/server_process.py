"""The Prefect server as a process of its own: ``python -P server_process.py HOME PORT``.

It does what ``prefect server start`` does in the foreground, and four things more: it tries again
by itself where SQLite is busy (:mod:`deployments.busy_database`), it binds its port before Prefect
loads (so its address is known at once, and the port cannot be taken by somebody else), it locks
``server.lock`` and its own record, ``server.json``, for its whole life (one server per home, and no
record outlives it unnoticed), and it ends when nobody locks ``server-users.lock`` any more, even if
its users were killed with ``kill -9``.
"""

import fcntl
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import IO

from deployments.busy_database import PatientDatabase

ALREADY_RUNNING = 75
"""Exit status when another server of the same home is alive."""


def bind(preferred_port: int) -> socket.socket:
    """A listening socket on 127.0.0.1: the preferred port if it is free, else any."""
    for port in (preferred_port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            continue
        return listener
    raise OSError("no free port on 127.0.0.1")


def publish_record(home: Path, url: str) -> IO[str]:
    """Write ``server.json``; the file is returned open and locked, and must stay so."""
    partial = home / f".server-{os.getpid()}.json"
    record = partial.open("w")
    fcntl.flock(record, fcntl.LOCK_EX)
    json.dump({"pid": os.getpid(), "url": url}, record)
    record.flush()
    partial.replace(home / "server.json")
    return record


def end_without_users(users_lock: Path, *, poll_s: float = 0.5, grace_s: float = 10.0) -> None:
    """Wait until nobody holds ``users_lock``, then end this process.

    The lock stays held until the process is gone, so that a new user waits and then starts a
    server of its own.
    """
    users = users_lock.open("a")
    while True:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            time.sleep(poll_s)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os._exit(0)


def main() -> None:
    """Serve until SIGTERM, or until nobody uses the server any more."""
    home, preferred_port = Path(sys.argv[1]), int(sys.argv[2])
    lock = (home / "server.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(ALREADY_RUNNING)
    listener = bind(preferred_port)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    os.environ["PREFECT_API_URL"] = os.environ["PREFECT_UI_API_URL"] = f"{url}/api"
    record = publish_record(home, url)
    threading.Thread(
        target=end_without_users, args=(home / "server-users.lock",), daemon=True
    ).start()

    gc.disable()  # the imports below make a million lasting objects; collecting them is waste
    import uvicorn
    from prefect.server.api.server import create_app

    app = PatientDatabase(create_app(final=True))
    gc.enable()
    gc.freeze()
    config = uvicorn.Config(
        app, log_level="warning", timeout_keep_alive=5, timeout_graceful_shutdown=3
    )
    with record, lock:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
