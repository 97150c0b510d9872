"""A small fixed sample of the fuzz drill; ``make stress`` runs it at full size."""

from pathlib import Path

from tests.stress.drill import run_drill


def test_a_server_under_attack_serves_on(tmp_path: Path) -> None:
    """Three hundred attacks: nobody else notices, nothing unforeseen happens or stays open."""
    drill = run_drill(tmp_path, num_attacks=300)

    assert sum(drill.outcomes.values()) == 300
    assert drill.num_answers > 20
    assert drill.num_wrong == 0
    assert drill.internal_errors == 0
    assert drill.num_files[1] <= drill.num_files[0] + 2
    assert drill.exit_status == 0
