"""Questions about images, from files that people bring."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.data.vqa import MAX_RECORD_BYTES, Turn, VqaData, read_image
from recap_core.errors import DataError
from recap_core.lineage.digest_cache import DigestCache
from tests.core.data.colours import COLOURS, conversation, write_images, write_lines

PAIR = {"image": "blue.png", "question": "Was für eine Farbe? 色", "answer": " blue "}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


def as_lines(path: Path, records: list[Any]) -> Path:
    return write_lines(path, [*records[:1], "", *records[1:]])  # an empty line is none


def as_array(path: Path, records: list[Any]) -> Path:
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


@pytest.mark.parametrize("write", [as_lines, as_array])
def test_both_layouts_and_both_formats(images: Path, tmp_path: Path, write: Any) -> None:  # noqa: ANN401 - a function
    """Conversations of one and two turns and a plain pair; letters of two and three bytes."""
    said = conversation("red")["conversations"]
    more = [{"from": "human", "value": "and\nup?"}, {"from": "gpt", "value": "up"}]
    long = {"image": "red.png", "conversations": [*said, *more]}
    data = VqaData(write(tmp_path / "data.json", [PAIR, long, conversation("green")]), images)

    examples = list(data)

    assert [example.image.name for example in examples] == ["blue.png", "red.png", "green.png"]
    assert [example.turns for example in examples] == [
        (Turn("Was für eine Farbe? 色", "blue"),),
        (Turn("put", "red"), Turn("and\nup?", "up")),
        (Turn("put", "green"),),
    ]


def test_the_digest_is_that_of_the_content(images: Path, tmp_path: Path) -> None:
    """The layout does not count; an answer, the order, and a pixel do."""
    records = [conversation(colour) for colour in COLOURS]
    cache = DigestCache(tmp_path / "digests.sqlite")

    def digest(records: list[Any], write: Any = as_lines) -> str:  # noqa: ANN401 - a function
        return VqaData(write(tmp_path / "data.json", records), images).digest(cache)

    first = digest(records)
    others = [digest(records[::-1]), digest([*records[:2], conversation("red")])]
    same = digest(records, as_array)
    (images / "red.png").write_bytes((images / "blue.png").read_bytes())

    assert same == first
    assert len({first, *others, digest(records)}) == 4


GOOD = json.dumps(conversation("red"))
SAID = {"from": "human", "value": "what?"}
MALFORMED = {
    "not json": ('{"image": ', r"line 2 of .* is no valid JSON"),
    "not an object": ("[1, 2]", r"line 2 of .* is list, not an object"),
    "no image": ('{"question": "a", "answer": "b"}', r"line 2 .* names no image \('image' is None"),
    "missing image": (PAIR | {"image": "pink.png"}, r"line 2 .* there is no image .*/pink\.png"),
    "a directory": (PAIR | {"image": "."}, r"line 2 .* there is no image"),
    "a way out": (PAIR | {"image": "../data.json"}, r"'\.\./data\.json' in line 2 .* lies outside"),
    "absolute": (PAIR | {"image": "/etc/passwd"}, r"'/etc/passwd' in line 2 .* lies outside"),
    "a link out": (PAIR | {"image": "out.png"}, r"'out\.png' in line 2 .* lies outside"),
    "no answer": (
        {"image": "red.png", "question": "a"},
        r"line 2 .* lacks a question or an answer",
    ),
    "a number": (PAIR | {"answer": 3}, r"line 2 .* lacks a question or an answer"),
    "empty": (PAIR | {"question": "<image>\n"}, r"an answer in line 2 .* is empty"),
    "speakers": ({"image": "red.png", "conversations": [SAID]}, r"line 2 .* must alternate"),
    "nothing said": ({"image": "red.png", "conversations": []}, r"line 2 .* lacks a question"),
    "text": ({"image": "red.png", "conversations": "hi"}, r"line 2 .* is no list of objects"),
    "two images": (PAIR | {"question": "<image> <image> a"}, r"line 2 .* several images"),
    "too long": (PAIR | {"answer": "b" * MAX_RECORD_BYTES}, r"line 2 .* is longer than 1048576"),
}


@pytest.mark.parametrize(("record", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_record_is_named(
    images: Path, tmp_path: Path, record: dict[str, Any] | str, message: str
) -> None:
    """File, line, what is wrong; no image outside the directory is ever opened."""
    (images / "out.png").symlink_to(tmp_path / "data.json")
    file = write_lines(tmp_path / "data.json", [GOOD, record])

    with pytest.raises(DataError, match=message):
        VqaData(file, images).digest(None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no question"),
        (b"[]", "holds no question"),
        (b'[\n{"image": "red.png", "question": "a", "answer": "b"},\n{"image": }]', "line 3 of"),
        (b'[{"image": "red.png"}', "line 1 of .* is no valid JSON"),
        (b'["\xff\xfe"]', "is no UTF-8 text"),
        (b"\xff\xfe", "line 1 of .* is no valid JSON"),
        (b"[" * 100_000, "line 1 of .* is no valid JSON"),
    ],
)
def test_a_malformed_file_is_an_error(
    images: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    """Also arrays that end too early or are nested without end."""
    file = tmp_path / "data.json"
    file.write_bytes(content)

    with pytest.raises(DataError, match=message):
        VqaData(file, images).digest(None)


def test_missing_places_are_named(images: Path, tmp_path: Path) -> None:
    """The file, or the directory."""
    with pytest.raises(DataError, match=r"nothing\.json cannot be read"):
        VqaData(tmp_path / "nothing.json", images)
    with pytest.raises(DataError, match="nowhere is no directory"):
        VqaData(write_lines(tmp_path / "data.json", [GOOD]), tmp_path / "nowhere")


def test_an_image_is_fitted_into_a_square(images: Path) -> None:
    """40 x 30 pixels become 28 x 21, between black rows."""
    pixels = read_image(images / "red.png", 28)

    assert pixels.shape == (28, 28, 3)
    assert not pixels[:3].any()
    np.testing.assert_array_equal(pixels[14, 14], COLOURS["red"])


def test_a_damaged_image_is_named(images: Path) -> None:
    """Text is no image."""
    (images / "red.png").write_text("red")

    with pytest.raises(DataError, match=r"red\.png cannot be read as an image"):
        read_image(images / "red.png", 28)
