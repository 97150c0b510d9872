r"""Questions about images, from files that people bring: LLaVA's format, or plain pairs.

A file holds one JSON object per line, or one JSON array of such objects:

    {"image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"},
                                         {"from": "gpt", "value": "A cup."}, ...]}
    {"image": "a.jpg", "question": "What is it?", "answer": "A cup."}

Images are named relative to one directory and never lie outside it. Files may be large: what is
kept in memory is where every record begins.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Int64, UInt8
from PIL import Image, UnidentifiedImageError

from recap_core.data.image_fit import fit_image
from recap_core.errors import DataError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.digests import content_digests
from recap_core.progress import Progress, Silent

MAX_RECORD_BYTES = 1 << 20
MAX_ARRAY_BYTES = 4 << 30
_PLACEHOLDER = "<image>"
_DIGESTS_AT_ONCE = 1024


class Turn(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


class VqaExample(NamedTuple):
    """An image and what is said about it."""

    image: Path
    turns: tuple[Turn, ...]
    """At least one; later ones may refer to earlier ones."""


class VqaData:
    """The questions of one file, by number.

    Args:
        file: JSON lines, or a JSON array.
        images: Directory of the images.

    Raises:
        DataError: If the file cannot be read, is empty, or a record is no JSON or too large. Other
            faults of a record are found when it is read.
    """

    def __init__(self, file: Path, images: Path) -> None:
        self.file = file
        self._images = images.resolve()
        if not self._images.is_dir():
            raise DataError(f"{images} is no directory. Name the directory of the images.")
        try:
            self._spans, self._lines = _index(file)
        except OSError as error:
            raise DataError(
                f"{file} cannot be read ({error.strerror}). Correct its path."
            ) from error
        if not len(self):
            raise DataError(f"{file} holds no question. Name a file with at least one.")

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, number: int) -> VqaExample:
        """One record.

        Raises:
            DataError: If it breaks a rule; names file and line.
        """
        where = f"line {self._lines[number]} of {self.file}"
        start, length = self._spans[number].tolist()
        with self.file.open("rb") as file:
            file.seek(start)
            text = file.read(length)
        return _example(_parsed(text, where), self._images, where)

    def __iter__(self) -> Iterator[VqaExample]:
        return (self[number] for number in range(len(self)))

    def digest(self, cache: DigestCache | None, *, progress: Progress | None = None) -> str:
        """xxh3-128 of all questions, answers and images in their order; checks every record.

        Args:
            cache: Digests of unchanged images; None reads every image.
            progress: Who watches.

        Raises:
            DataError: If a record breaks a rule, or an image cannot be read.
        """
        content = xxhash.xxh3_128()
        with (progress or Silent()).bar("check questions", len(self)) as bar:
            for first in range(0, len(self), _DIGESTS_AT_ONCE):
                numbers = range(first, min(first + _DIGESTS_AT_ONCE, len(self)))
                examples = [self[number] for number in numbers]
                try:
                    digests = content_digests([example.image for example in examples], cache)
                except OSError as error:
                    raise DataError(
                        f"image {error.filename} cannot be read ({error.strerror}). Restore it, or "
                        "remove its record."
                    ) from error
                for example, image in zip(examples, digests, strict=True):
                    content.update(json.dumps([image, example.turns]).encode() + b"\n")
                bar.update(numbers.stop)
        return content.hexdigest()


def read_image(path: Path, image_px: int) -> UInt8[np.ndarray, "px px 3"]:
    """An image as RGB, scaled to fit a square, centred on black.

    Raises:
        DataError: If it is no image that can be read.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}). Restore it, or remove its record."
        ) from error
    return fit_image(pixels, image_px, image_px)


def _index(file: Path) -> tuple[Int64[np.ndarray, "n 2"], Int64[np.ndarray, " n"]]:
    """First byte, length and line of every record."""
    with file.open("rb") as stream:
        head = stream.read(4096).lstrip()
    found = _array_records(file) if head.startswith(b"[") else _line_records(file)
    rows = np.array(list(found), dtype=np.int64).reshape(-1, 3)
    return rows[:, :2], rows[:, 2]


def _line_records(file: Path) -> Iterator[tuple[int, int, int]]:
    start = 0
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_RECORD_BYTES + 1):
            number += 1
            if len(line) > MAX_RECORD_BYTES:
                raise _too_large(f"line {number} of {file}")
            if line.strip():
                yield start, len(line), number
            start += len(line)


def _array_records(file: Path) -> Iterator[tuple[int, int, int]]:
    if file.stat().st_size > MAX_ARRAY_BYTES:
        raise DataError(
            f"{file} is a JSON array of {file.stat().st_size / 1e9:.1f} GB, which would be read at "
            f"once; at most {MAX_ARRAY_BYTES / 1e9:.1f} GB are. Write one object per line instead."
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no UTF-8 text ({error}). Write it anew.") from error
    decode = json.JSONDecoder().raw_decode
    position = text.index("[") + 1
    seen, start, line = 0, file.stat().st_size - len(text.encode()), 1
    while True:
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
        if position < len(text) and text[position] == "]":
            return
        line += text.count("\n", seen, position)
        start += len(text[seen:position].encode())
        where = f"line {line} of {file}"
        try:
            _, end = decode(text, position)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{where} is no valid JSON ({error}). Correct or remove it.") from error
        length = len(text[position:end].encode())
        if length > MAX_RECORD_BYTES:
            raise _too_large(where)
        yield start, length, line
        line += text.count("\n", position, end)
        seen, start, position = end, start + length, end


def _too_large(where: str) -> DataError:
    return DataError(
        f"{where} is longer than {MAX_RECORD_BYTES} bytes, which is no question about an image. "
        "Correct or remove it."
    )


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no valid JSON ({error}). Correct or remove it.") from error
    if not isinstance(record, dict):
        raise DataError(f"{where} is {type(record).__name__}, not an object. Correct or remove it.")
    return record


def _example(record: dict[str, Any], images: Path, where: str) -> VqaExample:
    name = record.get("image")
    if not isinstance(name, str) or not name:
        raise DataError(
            f"{where} names no image ('image' is {name!r}). Add it, or remove the record."
        )
    path = (images / name).resolve()
    if not path.is_relative_to(images):
        raise DataError(
            f"image {name!r} in {where} lies outside {images}. Name images relative to that "
            "directory."
        )
    if not path.is_file():
        raise DataError(f"{where}: there is no image {path}. Restore it, or remove the record.")
    return VqaExample(path, _turns(record, where))


def _turns(record: dict[str, Any], where: str) -> tuple[Turn, ...]:
    if "conversations" not in record:
        pair = [record.get("question"), record.get("answer")]
    else:
        said = record["conversations"]
        if not isinstance(said, list) or not all(isinstance(part, dict) for part in said):
            raise DataError(
                f"'conversations' in {where} is no list of objects. Correct the record."
            )
        speakers = [part.get("from") for part in said]
        if len(said) % 2 or speakers != ["human", "gpt"] * (len(said) // 2):
            raise DataError(
                f"speakers in {where} are {speakers}; human and gpt must alternate, human first. "
                "Correct or remove the record."
            )
        pair = [part.get("value") for part in said]
    spoken = [text for text in pair if isinstance(text, str)]
    if not pair or len(spoken) != len(pair):
        raise DataError(f"{where} lacks a question or an answer. Correct or remove the record.")
    texts = [text.replace(_PLACEHOLDER, "").strip() for text in spoken]
    if not all(texts):
        raise DataError(
            f"a question or an answer in {where} is empty. Correct or remove the record."
        )
    if sum(text.count(_PLACEHOLDER) for text in spoken) > 1:
        raise DataError(
            f"{where} refers to several images ({_PLACEHOLDER}); a record has one. Split it."
        )
    return tuple(Turn(*pair) for pair in zip(texts[::2], texts[1::2], strict=True))
