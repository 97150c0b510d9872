"""Words that can be read from across the room."""

from typing import Final

from rich.cells import cell_len

_LETTERS: Final = {
    "A": (" ### ", "#   #", "#####", "#   #", "#   #"),
    "C": (" ####", "#    ", "#    ", "#    ", " ####"),
    "D": ("#### ", "#   #", "#   #", "#   #", "#### "),
    "E": ("#####", "#    ", "###  ", "#    ", "#####"),
    "G": (" ####", "#    ", "#  ##", "#   #", " ####"),
    "I": ("###", " # ", " # ", " # ", "###"),
    "M": ("#   #", "## ##", "# # #", "#   #", "#   #"),
    "N": ("#   #", "##  #", "# # #", "#  ##", "#   #"),
    "O": (" ### ", "#   #", "#   #", "#   #", " ### "),
    "P": ("#### ", "#   #", "#### ", "#    ", "#    "),
    "R": ("#### ", "#   #", "#### ", "#  # ", "#   #"),
    "S": (" ####", "#    ", " ### ", "    #", "#### "),
    "T": ("#####", "  #  ", "  #  ", "  #  ", "  #  "),
    "U": ("#   #", "#   #", "#   #", "#   #", " ### "),
}
_HALVES: Final = {"  ": " ", "# ": "▀", " #": "▄", "##": "█"}
NUM_ROWS: Final = 3


def big_word(word: str, *, width: int, is_ascii: bool = False) -> list[str]:
    """A word in three rows of half blocks, centred; spaced letters where that does not fit.

    Args:
        word: Capital letters.
        width: Columns there are; every row has that many.
        is_ascii: The terminal has no blocks.
    """
    rows = _blocks(word)
    if is_ascii or cell_len(rows[0]) > width or not set(word) <= _LETTERS.keys():
        spaced = " ".join(word)
        rows = ["", spaced if len(spaced) <= width else word[:width], ""]
    return [row.center(width) for row in rows]


def _blocks(word: str) -> list[str]:
    letters = [_LETTERS.get(letter, ("     ",) * 5) for letter in word]
    pixels = [" ".join(letter[y] for letter in letters) for y in range(5)]
    pixels.append(" " * len(pixels[0]))
    return [
        "".join(_HALVES[upper + lower] for upper, lower in zip(*pair, strict=True))
        for pair in zip(pixels[::2], pixels[1::2], strict=True)
    ]
