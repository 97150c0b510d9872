"""A policy server of a few lines, in a process of its own, that can be killed.

``python -m tests.core.collection.holding_server PORT NAME TARGET``: every answer is a chunk of
actions that are all TARGET, from a policy that is called NAME.
"""

import asyncio
import sys
from typing import Any

import numpy as np

from recap_core.config.serving import ServeSettings
from recap_core.serving.host import PolicyHost, Reply
from recap_core.serving.protocol import pack, unpack
from recap_core.serving.server import PolicyServer
from recap_core.serving.statistics import ServingStatistics

HORIZON = 20


class HoldingHost(PolicyHost):
    """Wants every joint at ``target``."""

    def __init__(self, name: str, target: float) -> None:
        self._facts: dict[str, Any] = {"policy": {"name": name}}
        self._target = target

    def metadata(self) -> bytes:
        """Its name."""
        return pack(self._facts)

    def labels(self) -> dict[str, str]:
        """None."""
        return {}

    def respond(self, data: bytes, previous_total_s: float | None) -> Reply:
        """One chunk."""
        del previous_total_s
        width = len(unpack(data)["state"])
        return Reply(pack({"actions": np.full((HORIZON, width), self._target)}), 0.0)


def main() -> None:
    """Serve until killed."""
    port, name, target = sys.argv[1:]
    host = HoldingHost(name, float(target))
    server = PolicyServer(host, ServeSettings(port=int(port)), statistics=ServingStatistics())
    asyncio.run(server.run(asyncio.Event()))


if __name__ == "__main__":
    main()
