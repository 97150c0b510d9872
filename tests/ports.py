"""Ports that a test knows before anybody listens there."""

import socket
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Generator[int]:
    """A port of this machine on which nobody listens but servers that this test starts.

    It is bound as long as the block lasts, so that no other process is given it, before a server
    listens or between one server and the next. Servers that reuse addresses, as ours do, may
    listen beside it.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
