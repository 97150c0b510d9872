"""How a policy server listens and what it accepts."""

from pydantic import Field

from recap_core.config.base import RuntimeConfig


class ServeSettings(RuntimeConfig):
    """Address, limits and timeouts of a policy server."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """openpi's default; 0: any free one."""
    max_message_mb: float = Field(default=64, gt=0, le=4096)
    """Largest message of a client, MiB; a larger one ends its connection with code 1009."""
    max_fragments: int = Field(default=4096, ge=1)
    """Frames that one message may be split into."""
    max_connections: int = Field(default=32, ge=1)
    """Clients at once, each with at most one request in flight; others are told 503."""
    max_handshakes: int = Field(default=128, ge=1)
    """Connections at once that have not become clients yet."""
    open_timeout_s: float = Field(default=10, gt=0)
    """Longest opening handshake."""
    ping_interval_s: float = Field(default=20, gt=0)
    ping_timeout_s: float = Field(default=60, gt=0)
    """A client that answers no ping, or sends one message for so long, is cut off."""
    close_timeout_s: float = Field(default=5, gt=0)
    """Longest closing handshake."""
    shutdown_grace_s: float = Field(default=30, gt=0)
    """Time that requests in flight get to finish when the server is told to stop."""

    @property
    def max_message_bytes(self) -> int:
        """Largest message of a client, bytes."""
        return int(self.max_message_mb * 2**20)
