"""Every lineage command on fifty rounds and a thousand artifacts; the bar is a second each.

Timed as people meet them, as processes, start included, and inside of a warm process.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recap_core.lineage.ancestry import lineage_graph
from recap_core.lineage.snapshot import Snapshot
from recap_core.stages.lineage_diff import diff_lineage
from recap_core.stages.trace import trace
from tests.generated_store import GeneratedStore, generate_store

COMMANDS = {
    "show": ("show", "handover/aloha/current"),
    "rounds": ("graph",),
    "graph --json": ("graph", "--json"),
    "graph of a policy": ("graph", "handover/aloha/current"),
    "diff of rounds": ("diff", "handover/aloha/round-49", "handover/aloha/round-50"),
    "trace of a policy": ("trace", "handover/aloha/current"),
    "trace of demonstrations": ("trace", "handover/aloha/demonstrations"),
}
BAR_S = 1.0


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> GeneratedStore:
    """Two projects, 80 rounds, more than a thousand artifacts."""
    home = tmp_path_factory.mktemp("fifty")
    made = generate_store(home, num_iterations=50, num_other=30)
    assert len(list(made.store.artifacts())) > 1000
    return made


def _seconds(arguments: tuple[str, ...], home: Path) -> tuple[float, float]:
    """Wall and processor seconds of the fastest of three runs."""
    environment = os.environ | {"RECAP_HOME": str(home)}
    found: list[tuple[float, float]] = []
    for _ in range(3):
        before, start = os.times(), time.perf_counter()
        subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "deployments.cli.main", *arguments],
            env=environment, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        after = os.times()
        used = after.children_user + after.children_system
        used -= before.children_user + before.children_system
        found.append((time.perf_counter() - start, used))
    return min(found)


@pytest.mark.parametrize("name", COMMANDS)
def bench_command(fifty: GeneratedStore, name: str) -> None:
    """A whole process, beside one that does nothing but start."""
    empty = _seconds(("--help",), fifty.store.home)
    wall, used = _seconds(("lineage", *COMMANDS[name]), fifty.store.home)
    sys.stdout.write(
        f"\nlineage {name}: {wall:.2f} s ({used:.2f} s of processor); "
        f"recap --help: {empty[0]:.2f} s ({empty[1]:.2f} s)\n"
    )
    assert used - empty[1] < BAR_S


def bench_inside_a_process(fifty: GeneratedStore) -> None:
    """The reading and the thinking alone."""
    store = fifty.store
    told: dict[str, float] = {}
    start = time.perf_counter()
    snapshot = Snapshot(store)
    told["snapshot"] = time.perf_counter() - start
    policy = store.get("handover/aloha/current")
    rounds = [store.get(f"handover/aloha/round-{k}") for k in (49, 50)]
    diff_lineage(snapshot, *rounds)  # imports what it needs
    for name, ask in (
        ("graph", lambda: lineage_graph(snapshot)),
        ("trace", lambda: trace(snapshot, policy)),
        ("diff", lambda: diff_lineage(snapshot, *rounds)),
    ):
        start = time.perf_counter()
        ask()
        told[name] = time.perf_counter() - start
    text = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in told.items())
    sys.stdout.write(f"\n{len(snapshot.manifests)} artifacts: {text}\n")
    assert sum(told.values()) < BAR_S
