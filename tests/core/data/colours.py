"""Images of one colour each, and questions about them."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 230)}


def conversation(colour: str) -> dict[str, Any]:
    """LLaVA's record of one question."""
    said = [
        {"from": "human", "value": "<image>\nput"},
        {"from": "gpt", "value": colour},
    ]
    return {"id": colour, "image": f"{colour}.png", "conversations": said}


def write_images(directory: Path) -> Path:
    """One image per colour, wider than high."""
    directory.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(directory / f"{name}.png")
    return directory


def write_lines(path: Path, records: list[Any]) -> Path:
    """JSON lines; text is written as it is."""
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
