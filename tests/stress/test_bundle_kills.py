"""``kill -9`` before every change that an export or an import makes, then the same again.

Counts are printed; run with ``make stress``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRILL = Path(__file__).with_name("bundle_kills.py")
ROOT = DRILL.parents[2]


@pytest.mark.timeout(1800)
@pytest.mark.slow
def test_a_killed_transfer_leaves_nothing_half_done(tmp_path: Path) -> None:
    """What can be seen is whole, and the next try ends with all of it and no litter."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "core" / "lineage")])
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, DRILL, tmp_path / "drill"],
        capture_output=True, text=True, timeout=1700, check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    sys.stdout.write(f"\nkilled transfers: {told}\n")
    assert all(counts["kills"] > 30 for counts in told.values())
    assert all(0 < counts["done"] < counts["kills"] for counts in told.values())
