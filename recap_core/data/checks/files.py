"""Files of a dataset that should not be there."""

import os
import re
from collections.abc import Generator
from pathlib import Path

from recap_core.data.checks.finding import Finding, Place

_DATA_FILE = re.compile(r"data/chunk-\d{3,}/file-\d{3,}\.parquet")


def check_files(root: Path) -> Generator[Finding]:
    """Strangers inside ``data/``, symbolic links anywhere."""
    for directory, names, files in os.walk(root):
        for name in sorted([*names, *files]):
            path = Path(directory, name)
            relative = path.relative_to(root).as_posix()
            if path.is_symlink():
                yield Finding(
                    severity="warning",
                    check="files",
                    where=Place(file=relative),
                    value="a symbolic link",
                    rule="a dataset holds its own files: links break when their target moves",
                    fix="replace it by a copy of its target; relabel and the store refuse links",
                )
            elif name in files and directory.startswith(str(root / "data")):
                yield from _data_file(relative)


def _data_file(relative: str) -> Generator[Finding]:
    if _DATA_FILE.fullmatch(relative):
        return
    # Readers take data/*/*.parquet, whatever it is called.
    is_read = relative.count("/") == 2 and relative.endswith(".parquet")
    yield Finding(
        severity="error" if is_read else "warning",
        check="files",
        where=Place(file=relative),
        value="a stray file",
        rule="every parquet file in data/ is read as rows of the dataset"
        if is_read
        else "data/ holds chunk-NNN/file-NNN.parquet and nothing else",
        fix="move it out of data/",
    )
