"""Episodes against each other: twice the same, or much longer or shorter than the rest."""

from collections.abc import Generator, Iterable

import numpy as np
import xxhash

from recap_core.config.validation import ValidateConfig
from recap_core.data.checks.episode import Episode
from recap_core.data.checks.finding import Finding, Place
from recap_core.data.columns import ACTION, STATE

MIN_EPISODES = 5
"""Below that many there is no usual length."""


class DuplicateCheck:
    """Episodes with the same state and action in every frame."""

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[int | str, str]] = {}

    def look(self, episode: Episode) -> Generator[Finding]:
        """Compare one episode with all before it, by digest."""
        if STATE not in episode.columns or ACTION not in episode.columns:
            return
        digest = xxhash.xxh3_128()
        for name in (STATE, ACTION):
            digest.update(np.ascontiguousarray(episode.columns[name]).tobytes())
        name, origin = self._first.setdefault(digest.digest(), (episode.name, episode.origin))
        if name == episode.name:
            return
        is_repeated = bool(origin) and origin == episode.origin
        yield Finding(
            severity="note" if is_repeated else "warning",
            check="duplicates",
            where=episode.place(),
            value=f"the same states and actions as {Place(episode=name)}",
            rule="an episode that a merge repeats counts more often, on purpose"
            if is_repeated
            else "an episode is recorded once: copies weigh it more and leak into held-out data",
            fix="nothing, if it is meant" if is_repeated else "exclude one with an annotation",
        )

    def finish(self) -> Iterable[Finding]:
        """Nothing more."""
        return ()


class LengthCheck:
    """Episodes of unusual length."""

    def __init__(self, config: ValidateConfig) -> None:
        self._factor = config.length_factor
        self._lengths: list[int] = []
        self._names: list[int | str] = []

    def look(self, episode: Episode) -> Generator[Finding]:
        """Remember one length."""
        self._lengths.append(episode.length)
        self._names.append(episode.name)
        if episode.length == 1:
            yield Finding(
                severity="warning",
                check="lengths",
                where=episode.place(),
                value="1 frame",
                rule="an episode of one frame has no duration and teaches nothing",
                fix="exclude it with an annotation",
            )

    def finish(self) -> Generator[Finding]:
        """Compare every length with the median."""
        if len(self._lengths) < MIN_EPISODES:
            return
        lengths = np.array(self._lengths, dtype=np.float64)
        median = float(np.median(lengths))
        # Where lengths differ widely anyway, only what stands out even there.
        spread = float(np.median(np.abs(np.log(lengths / median))))
        limit = max(np.log(self._factor), 4 * 1.4826 * spread)
        for i in np.flatnonzero(np.abs(np.log(lengths / median)) > limit).tolist():
            yield Finding(
                severity="warning",
                check="lengths",
                where=Place(episode=self._names[i]),
                value=f"{self._lengths[i]} frames; the median is {median:.0f}",
                rule=f"lengths within a factor of {np.exp(limit):.1f} of the median are usual",
                fix="look at the episode: cut off, or never ended?",
            )
