"""A fuzzed policy server at full size: counts are printed; run with ``make stress``.

``RECAP_ATTACKS`` changes the number of attacks.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.stress.drill import run_drill

NUM_ATTACKS = int(os.environ.get("RECAP_ATTACKS", "10000"))
MAX_GROWTH_MB = 24.0


@pytest.mark.timeout(3600)
@pytest.mark.slow
def test_a_fuzzed_server_serves_on_and_leaks_nothing(tmp_path: Path) -> None:
    """Ten thousand attacks: a robot is answered rightly all the time, memory stays."""
    drill = run_drill(tmp_path, num_attacks=NUM_ATTACKS)

    sys.stdout.write(drill.told())
    assert sum(drill.outcomes.values()) == NUM_ATTACKS
    assert drill.num_answers > NUM_ATTACKS // 20
    assert drill.num_wrong == 0
    assert drill.internal_errors == 0
    assert drill.final_mb - drill.warm_mb < MAX_GROWTH_MB
    assert drill.num_files[1] <= drill.num_files[0] + 2
    assert drill.exit_status == 0
