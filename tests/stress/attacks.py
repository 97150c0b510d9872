"""What a policy server must endure: malformed messages, broken websockets, vanishing clients.

Every attack is one connection over a plain socket, decided by a seed alone. It returns how the
server ended it.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgpack
import numpy as np

from recap_core.serving.protocol import pack
from tests.core.serving import tiny

TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9
FIN, RSV1 = 0x80, 0x40
_TIMEOUT_S = 20.0
_MAX_HELD = 8


class Fuzzer:
    """Attacks one server; keeps some connections half-open.

    Args:
        port: Of the server on this machine.
        max_message_bytes: Its limit.
    """

    def __init__(self, port: int, *, max_message_bytes: int) -> None:
        self._port = port
        self._max_message_bytes = max_message_bytes
        self._held: list[socket.socket] = []
        self._whole = pack(tiny.observation())
        self._attacks: list[Callable[[np.random.Generator], str]] = [
            self.malformed_message,
            self.malformed_message,
            self.malformed_message,
            self.wrong_observation,
            self.text_message,
            self.oversized_message,
            self.broken_websocket,
            self.many_fragments,
            self.vanishing_client,
            self.half_open_client,
            self.wrong_http,
        ]

    def attack(self, seed: int) -> str:
        """The attack of a seed: what it was, and how it ended."""
        rng = np.random.default_rng(seed)
        chosen = self._attacks[int(rng.integers(len(self._attacks)))]
        try:
            outcome = chosen(rng)
        except (ConnectionError, TimeoutError) as error:
            outcome = type(error).__name__
        return f"{chosen.__name__}: {outcome}"

    def close(self) -> None:
        """Let go of half-open connections."""
        while self._held:
            _reset(self._held.pop())

    def malformed_message(self, rng: np.random.Generator) -> str:
        """Bytes that are no msgpack, or lie about what follows."""
        return self._sent(_malformed(rng, self._whole))

    def wrong_observation(self, rng: np.random.Generator) -> str:
        """Sound msgpack that is no observation of this robot."""
        return self._sent(pack(_wrong_observation(rng)))

    def text_message(self, rng: np.random.Generator) -> str:
        """Text, half of it no UTF-8."""
        text = b"hello" if rng.integers(2) else rng.bytes(20) + b"\xff"
        return self._sent(text, FIN | TEXT)

    def oversized_message(self, rng: np.random.Generator) -> str:
        """A header that announces more than is accepted, up to 2**63 bytes."""
        length = self._max_message_bytes + 1 + int(rng.integers(2**62)) * int(rng.integers(2))
        header = struct.pack(">BBQ", FIN | BINARY, 0x80 | 127, length)
        return self._sent_raw(header + bytes(4) + rng.bytes(100))

    def broken_websocket(self, rng: np.random.Generator) -> str:
        """Frames that the websocket protocol forbids."""
        whole = [
            struct.pack(">BB", FIN | BINARY, 5) + b"plain",  # not masked
            frame(b"x", FIN | RSV1 | BINARY),
            frame(b"x", FIN | 0x3),  # reserved opcode
            frame(b"x", FIN | 0x0),  # continues nothing
            frame(b"x" * 126, FIN | PING),  # too long for a ping
            frame(b"x", PING),  # a ping in pieces
            frame(b"a", BINARY) + frame(b"b", FIN | BINARY),
            frame(struct.pack(">H", 999), FIN | CLOSE),
            frame(b"\x03", FIN | CLOSE),
            frame(b"", FIN | PING) * 200 + frame(rng.bytes(9), FIN | BINARY),
            rng.bytes(200),
        ]
        return self._sent_raw(whole[int(rng.integers(len(whole)))], wait_s=0.5)

    def many_fragments(self, rng: np.random.Generator) -> str:
        """A message in very many empty pieces, or in pieces that never end."""
        count = int(rng.choice([10, 5000]))
        return self._sent_raw(frame(b"", BINARY) + frame(b"", 0x0) * count, wait_s=0.3)

    def vanishing_client(self, rng: np.random.Generator) -> str:
        """Gone before, within or right after a request, orderly or with a reset."""
        stage = int(rng.integers(5))
        if stage == 0:
            connection = self._connect()
        else:
            connection = self._open()
            whole = frame(self._whole, FIN | BINARY)
            if stage == 1:
                connection.sendall(whole[: int(rng.integers(1, len(whole)))])
            elif stage == 2:
                connection.sendall(whole)
            elif stage == 3:
                connection.sendall(whole * 3)
        if rng.integers(2):
            _reset(connection)
        else:
            connection.close()
        return "left"

    def half_open_client(self, rng: np.random.Generator) -> str:
        """Connected, says part of something, and stays; the oldest is let go."""
        stage = int(rng.integers(3))
        if stage == 0:
            connection = self._connect()
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "[: int(rng.integers(1, 30))])
        else:
            connection = self._open()
            if stage == 1:
                connection.sendall(frame(self._whole, FIN | BINARY)[: int(rng.integers(1, 5000))])
        self._held.append(connection)
        if len(self._held) > _MAX_HELD:
            _reset(self._held.pop(0))
        return "holds on"

    def wrong_http(self, rng: np.random.Generator) -> str:
        """Requests that are no websocket handshake, or no HTTP."""
        requests = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789",
            b"GET / HTTP/0.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00" + rng.bytes(60),  # a TLS hello
            rng.bytes(300) + b"\r\n\r\n",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X-Header: y\r\n" * 400 + b"\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /stats HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            handshake().replace(b"Version: 13", b"Version: 99"),
            handshake().replace(b"\r\n\r\n", b"\r\nOrigin: http://evil.example\r\n\r\n"),
        ]
        with self._connect() as connection:
            connection.sendall(requests[int(rng.integers(len(requests)))])
            connection.settimeout(0.5)  # what looks unfinished is waited for, up to a limit
            first = connection.recv(65_536)
        return first[:12].decode(errors="replace") or "closed"

    def _sent(self, payload: bytes, first_byte: int = FIN | BINARY) -> str:
        return self._sent_raw(frame(payload, first_byte))

    def _sent_raw(self, data: bytes, *, wait_s: float = _TIMEOUT_S) -> str:
        """Send bytes over a new websocket; how the server answers."""
        with self._open() as connection:
            connection.settimeout(wait_s)
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(data)
            try:
                return " ".join(_answers(connection))
            except TimeoutError:
                _reset(connection)
                return "waits"

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_S)

    def _open(self) -> socket.socket:
        """A websocket whose metadata has been read; waits for a place."""
        until = time.monotonic() + _TIMEOUT_S
        while True:
            connection = self._connect()
            connection.sendall(handshake())
            head = _until(connection, b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 101"):
                _read_frame(connection)
                return connection
            connection.close()
            if time.monotonic() > until:
                raise TimeoutError(head[:60])
            time.sleep(0.01)


class Frame(NamedTuple):
    """One frame of the server."""

    opcode: int
    payload: bytes


def handshake() -> bytes:
    """A sound opening handshake."""
    return (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )


def frame(payload: bytes, first_byte: int) -> bytes:
    """A frame of a client, masked with zeros."""
    length = len(payload)
    if length < 126:
        header = struct.pack(">BB", first_byte, 0x80 | length)
    elif length < 65_536:
        header = struct.pack(">BBH", first_byte, 0x80 | 126, length)
    else:
        header = struct.pack(">BBQ", first_byte, 0x80 | 127, length)
    return header + bytes(4) + payload


def _malformed(rng: np.random.Generator, whole: bytes) -> bytes:
    huge = struct.pack(">I", int(rng.integers(2**20, 2**32)))
    kinds: list[Callable[[], bytes]] = [
        lambda: rng.bytes(int(rng.integers(0, 2000))),
        lambda: whole[: int(rng.integers(0, len(whole)))],
        lambda: _flipped(rng, whole),
        lambda: whole + rng.bytes(int(rng.integers(1, 9))),
        lambda: b"\x91" * int(rng.integers(17, 100_000)) + b"\x90",
        lambda: b"\x81\xa1a" * int(rng.integers(17, 10_000)) + b"\xc0",
        lambda: bytes(rng.choice([0xDD, 0xDF, 0xC6, 0xDB], 1).astype(np.uint8)) + huge + whole,
        lambda: b"\xdd\x00\x10\x00\x00" + b"\x90" * 2**20,  # a million empty lists
        lambda: b"\xdd" + struct.pack(">I", 60_000) + b"\x01" * 60_000,
        lambda: b"\xc9" + huge + whole,
        lambda: b"",
        lambda: msgpack.packb({"state": _lying_array(rng)}) or b"",
    ]
    return kinds[int(rng.integers(len(kinds)))]()


def _flipped(rng: np.random.Generator, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(int(rng.integers(1, 8))):
        # Headers are where damage hurts: near the start, more often than in the pixels.
        position = int(rng.integers(min(len(data), int(rng.choice([200, len(data)])))))
        data[position] = int(rng.integers(256))
    return bytes(data)


def _lying_array(rng: np.random.Generator) -> dict[bytes, Any]:
    dtypes = ["<f4", "|O", "<c8", "|V8", "f4,f4", "<f99", "<U1000000", "m8[ns]", "", "x" * 100]
    shapes: list[Any] = [[14], [2**40, 2**40], [-1], [0, 2**62], [1.5], None, "14", [1] * 40]
    return {
        b"__ndarray__": True,
        b"data": rng.bytes(int(rng.choice([0, 55, 56, 57, 4096]))),
        b"dtype": dtypes[int(rng.integers(len(dtypes)))],
        b"shape": shapes[int(rng.integers(len(shapes)))],
    }


def _wrong_observation(rng: np.random.Generator) -> object:
    image = np.zeros((3, 28, 28), np.uint8)
    wrong: list[object] = [
        None,
        [],
        {},
        {"state": np.zeros(14, np.float32)},
        tiny.observation(state=np.zeros(int(rng.integers(0, 500)), np.float32)),
        tiny.observation(state=np.full(14, np.nan)),
        tiny.observation(state="none"),
        tiny.observation(state=np.array(["a"] * 14)),
        tiny.observation(state=np.zeros((0, 14), bool)),
        tiny.observation(prompt=7),
        tiny.observation(prompt="long " * 5000),
        tiny.observation(adv_ind="best"),
        tiny.observation(frame_index=-5),
        tiny.observation(episode_seed=np.float64(1)),
        tiny.observation(images=[]),
        tiny.observation(images={"cam_high": image[0]}),
        tiny.observation(images={"cam_high": np.full((3, 28, 28), np.inf)}),
        tiny.observation(images={"cam_high": image, "cam_top": image}),
        tiny.observation(images={"cam_high": np.zeros((3, 0, 5), np.uint8)}),
        tiny.observation(images={"cam_high": np.zeros((3, 1, 3000), np.uint8)}),
        tiny.observation(images={"cam_high": np.array("x")}),
        {str(i): i for i in range(3000)},
    ]
    return wrong[int(rng.integers(len(wrong)))]


def _answers(connection: socket.socket) -> Iterator[str]:
    """What the server sends until it closes."""
    while True:
        found = _read_frame(connection)
        if found is None:
            return
        if found.opcode == CLOSE:
            code = struct.unpack(">H", found.payload[:2])[0] if len(found.payload) > 1 else 1005
            yield str(code)
            connection.sendall(frame(found.payload[:2], FIN | CLOSE))
            return
        if found.opcode in (TEXT, BINARY):
            yield "text" if found.opcode == TEXT else "answer"
        if found.opcode == BINARY:
            return


def _read_frame(connection: socket.socket) -> Frame | None:
    head = _exactly(connection, 2)
    if head is None:
        return None
    length = head[1] & 0x7F
    if length > 125:
        more = _exactly(connection, 2 if length == 126 else 8)
        length = int.from_bytes(more or b"")
    payload = _exactly(connection, length)
    return None if payload is None else Frame(head[0] & 0x0F, payload)


def _exactly(connection: socket.socket, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _until(connection: socket.socket, end: bytes) -> bytes:
    """Bytes up to ``end``; one at a time, because what follows belongs to somebody else."""
    found = b""
    while not found.endswith(end):
        part = connection.recv(1)
        if not part:
            break
        found += part
    return found


def _reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def resident_mb(pid: int) -> float:
    """Memory of a process, MB."""
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123 - no ordinary file
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def num_open_files(pid: int) -> int:
    """Files and sockets that a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - no ordinary directory
