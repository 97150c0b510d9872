"""Numbers of a report that pages over many rounds show without measuring them again."""

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from recap_core.errors import ArtifactError
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store
from recap_core.reports.round_content import TaskChange

NUMBERS_FILE = "numbers.json"

_log = logging.getLogger(__name__)


class ReportNumbers(BaseModel):
    """What was measured when a report was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    new_bytes: dict[str, int] = {}
    """Bytes that every artifact of the round added to the disk, by id."""
    label_flips: tuple[TaskChange, ...] = ()
    """By task, on the episodes that the round before had too; empty: not compared."""

    @property
    def total_bytes(self) -> int:
        """Of all artifacts of the round."""
        return sum(self.new_bytes.values())


def write_numbers(numbers: ReportNumbers, directory: Path) -> None:
    """Write ``numbers.json`` of a report."""
    text = numbers.model_dump_json(indent=1)
    (directory / NUMBERS_FILE).write_text(text + "\n", encoding="utf-8")


def read_numbers(store: Store, report: Manifest) -> ReportNumbers:
    """Of a report; empty where it is of version 3 or older, or they cannot be read."""
    try:
        path = store.path(report.artifact()) / NUMBERS_FILE
        return ReportNumbers.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        pass
    except (ArtifactError, OSError, ValidationError) as error:
        _log.warning("numbers of report %s cannot be read: %s", report.id[:8], error)
    return ReportNumbers()
