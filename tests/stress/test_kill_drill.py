"""``kill -9`` in the middle of each stage in turn, then the same command.

Counts are printed; run with ``make stress``.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recap_core.lineage.digests import tree_digest
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store

NUM_STAGES = 18
DEMO = ("demo", "--plumbing", "--no-cameras", "--json")


def _demo(environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "deployments.cli.main", *DEMO],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    )


def _building(home: Path) -> set[str]:
    """Stage keys that are being built now."""
    return {path.name.split("-")[1] for path in home.glob(".tmp-*-*") if path.is_dir()}


def _published(home: Path) -> dict[str, Manifest]:
    return {manifest.id: manifest for manifest in Store(home).artifacts()}


def _check_artifacts(home: Path) -> None:
    """Whatever is visible is complete: it has a manifest, and the content of its digest."""
    store = Store(home)
    directories = [d for kind in home.glob("artifacts/[a-z]*") for d in kind.iterdir()]
    manifests = {str(store.path(m.artifact())): m for m in store.artifacts()}
    assert {str(d) for d in directories} == set(manifests)
    for path, manifest in manifests.items():
        assert tree_digest(Path(path), None) == manifest.digest, path


@pytest.mark.timeout(3600)
@pytest.mark.slow
def test_a_demo_survives_a_kill_in_every_stage(tmp_path: Path) -> None:
    """18 stages, 18 kills: no earlier stage runs again, nothing partial is ever visible."""
    kept = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment = kept | {"RECAP_HOME": str(tmp_path)}
    killed: list[str] = []
    before: dict[str, Manifest] = {}
    while True:
        process = _demo(environment)
        while process.poll() is None:
            fresh = _building(tmp_path) - set(killed)
            if fresh:
                # Long enough to be inside the work, short enough to be before its end.
                time.sleep(0.02)
                os.killpg(process.pid, signal.SIGKILL)
                killed.append(fresh.pop())
                break
            time.sleep(0.001)
        output, _ = process.communicate()
        after = _published(tmp_path)
        assert {key: after[key] for key in before} == before, "an artifact was made again"
        _check_artifacts(tmp_path)
        before = after
        if process.returncode == 0:
            break
    sys.stdout.write(f"{len(killed)} kills, {len(before)} artifacts\n")
    assert len(killed) == NUM_STAGES
    assert len(json.loads(output)["stages"]) == NUM_STAGES
