"""Live recorders killed at random moments: what they had saved is whole, the rest is recognised.

What was found is printed; run with ``make stress`` (``RECAP_KILLS``: recorders killed).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NUM_KILLS = int(os.environ.get("RECAP_KILLS", "50"))
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_recorder_loses_at_most_the_open_episode(tmp_path: Path) -> None:
    """Saved episodes decode, the open one is swept, the summary is true, the inbox takes it."""
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "tests.stress.recording_kills", str(tmp_path / "base"), "0",
         str(NUM_KILLS)],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["whole episodes"] > NUM_KILLS
    assert found["an open episode"] > 0
