"""Episodes on the command line: ``0-19``, ``3,7``."""

import re
from collections.abc import Sequence

from recap_core.errors import ConfigError

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def episode_numbers(
    texts: Sequence[str], num_episodes: int, *, option: str = "--episodes"
) -> list[int]:
    """Episodes of lists of ranges, each once, in the order in which they are named.

    Args:
        texts: What was typed.
        num_episodes: Episodes of the dataset.
        option: Where it was typed, for errors.

    Raises:
        ConfigError: If a text is no list of ranges, or an episode does not exist.
    """
    found: dict[int, None] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ConfigError(f"{option} {part!r} is not a number or a range such as 0-19.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last >= num_episodes or first > last:
            raise ConfigError(f"{option} {part}: the dataset has episodes 0 to {num_episodes - 1}.")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)
