"""What an imported dataset was made from: a file of its own beside LeRobot's metadata."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

RECORD_PATH = "meta/recap_import.json"


class ImportRecord(BaseModel):
    """What was found, and where every column comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_episodes: int
    num_successes: int
    num_frames: int
    num_intervention_frames: int
    made_from: dict[str, str]
    """In words, by RECAP column and for the ``outcome``."""
    cameras: dict[str, str]
    """``shared`` by hard link or ``encoded``, by camera feature."""


def write_import_record(root: Path, record: ImportRecord) -> None:
    """Write the record of the dataset in ``root``."""
    (root / RECORD_PATH).write_text(record.model_dump_json(indent=2) + "\n")


def read_import_record(root: Path) -> ImportRecord:
    """Read the record of an imported dataset."""
    return ImportRecord.model_validate_json((root / RECORD_PATH).read_text())
