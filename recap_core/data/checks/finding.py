"""What a check has to say: one finding, and many findings without repetition."""

from typing import Literal

from recap_core.config.base import Config
from recap_core.errors import RecapError

type Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""``error``: do not train on this. ``warning``: look at it. ``note``: good to know."""
MAX_EXAMPLES = 5
_REFUSED = "readers refuse it"


class Place(Config):
    """Where something was found; what does not apply is None."""

    episode: int | str | None = None
    """Number in a dataset, directory name in a recording."""
    frame: int | None = None
    """Number within the episode."""
    feature: str | None = None
    file: str | None = None
    """Path below the root."""

    def __str__(self) -> str:
        episode = self.episode if isinstance(self.episode, str) else f"episode {self.episode}"
        is_in_file = self.feature is not None and self.feature in (self.file or "")
        parts = [
            None if is_in_file else self.feature,
            self.file,
            None if self.episode is None else episode,
            None if self.frame is None else f"frame {self.frame}",
        ]
        return ", ".join(part for part in parts if part) or "the whole"


class Finding(Config):
    """One thing that a check found."""

    severity: Severity
    check: str
    """Name of the check, such as ``index``."""
    where: Place = Place()
    """The first place."""
    value: str
    """What is there."""
    rule: str
    """What should be there, or why it matters."""
    fix: str
    """What to do next; empty where there is nothing to do."""
    num_places: int = 1
    """Places where the same was found."""
    examples: tuple[Place, ...] = ()
    """Some of the further places."""


def from_error(error: RecapError, *, check: str, where: Place | None = None) -> Finding:
    """The finding that a reader's refusal amounts to."""
    # A message names what is wrong, and ends with a sentence that says what to do.
    value, _, fix = " ".join(str(error).split()).rstrip(".").rpartition(". ")
    return Finding(
        severity="error",
        check=check,
        where=where or Place(),
        value=value,
        rule=_REFUSED,
        fix=fix[:1].lower() + fix[1:],
    )


class Findings:
    """A list in which the same finding in many places appears once, with a count.

    Two findings are the same if severity, check, feature and rule agree; what readers refuse is
    told apart by its message. So memory does not grow with the number of broken episodes.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], Finding] = {}

    def add(self, finding: Finding) -> None:
        """Take one more finding."""
        key = (finding.severity, finding.check, finding.where.feature or "", finding.rule)
        if finding.rule == _REFUSED:
            key = (*key, finding.value)
        first = self._found.setdefault(key, finding)
        if first is not finding:
            examples = first.examples
            if len(examples) < MAX_EXAMPLES:
                examples = (*examples, finding.where)
            update = {"num_places": first.num_places + 1, "examples": examples}
            self._found[key] = first.model_copy(update=update)

    def sorted(self) -> list[Finding]:
        """Errors first, then in the order in which they were found."""
        return sorted(self._found.values(), key=lambda f: SEVERITIES.index(f.severity))
