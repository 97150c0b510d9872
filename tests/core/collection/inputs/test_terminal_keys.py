"""What a terminal sends, as keys."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.collection.inputs.terminal_keys import TerminalDecoder


def _keys(*parts: bytes) -> list[str]:
    decoder = TerminalDecoder()
    return [key for part in parts for key in decoder.feed(part)] + decoder.flush()


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"s", ["s"]),
        (b"S", ["s"]),
        (b" \r\n\t\x7f\x08", ["space", "enter", "enter", "tab", "backspace", "backspace"]),
        ("é€".encode(), ["é", "€"]),
        (b"\x1b", ["esc"]),
        (b"\x1b\x1b", ["esc", "esc"]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1bOA\x1bOD\x1bOM", ["up", "left", "enter"]),
        (b"\x1b[3~\x1b[5~\x1b[24~", ["delete", "page_up", "f12"]),
        (b"\x1bOP\x1b[[A\x1b[11~", ["f1", "f1", "f1"]),
        (b"q\x1b[Cq", ["q", "right", "q"]),
        (b"\x1b\x1b[C", ["esc", "right"]),
        (b"\x1b[\x1b[C", ["right"]),
        # Alt with a letter, Ctrl with an arrow, Ctrl with a letter, a mouse, nothing at all.
        (b"\x1bq", []),
        (b"\x1b[1;5C", []),
        (b"\x01\x05", []),
        (b"\x1b[<0;10;5M", []),
        (b"\x1b[", []),
        (b"\xff", []),
        (b"", []),
    ],
)
def test_keys_by_their_bytes(sent: bytes, keys: list[str]) -> None:
    assert _keys(sent) == keys


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"q", b"\x1b[C", b"\x1bOP", b"\x1b[3~", "é".encode(), b" "])),
    st.lists(st.integers(0, 60)),
)
def test_bytes_may_come_in_any_parts(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(sent)
    ends = sorted({cut for cut in cuts if cut < len(data)} | {0, len(data)})
    parts = [data[begin:end] for begin, end in itertools.pairwise(ends)]

    assert _keys(*parts) == _keys(data)


def test_esc_waits_for_what_may_follow() -> None:
    decoder = TerminalDecoder()

    assert decoder.feed(b"\x1b") == []
    assert decoder.is_pending
    assert decoder.flush() == ["esc"]
    assert not decoder.is_pending
    assert decoder.flush() == []
