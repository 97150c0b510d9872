"""Ports that nobody takes between the choice and the bind."""

import fcntl
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

PORTS = range(20_000, 30_000)
"""Below those that Linux gives to connections and to whoever asks for any port."""

_held: list[int] = []
"""Descriptors of locked files: of the ports that this process has chosen."""


def free_port() -> int:
    """A port of 127.0.0.1 that no other test process chooses until this one ends.

    A server may bind it many seconds later, and tests run in several processes at once.
    """
    folder = Path(tempfile.gettempdir()) / f"recap-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in PORTS:
        claim = os.open(folder / str(port), os.O_RDWR | os.O_CREAT)
        with suppress(OSError), socket.socket() as probe:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.bind(("127.0.0.1", port))
            _held.append(claim)
            return port
        os.close(claim)
    raise OSError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")
