"""Expected time and disk: past runs, scaled with the work."""

from pathlib import Path

import pytest
from lineage_toys import ToyConfig, make_stats

from recap_core.lineage.artifacts import Artifact, Dataset, Evaluation, PolicyCheckpoint
from recap_core.lineage.estimates import Estimator
from recap_core.lineage.keys import Stage
from recap_core.lineage.links import link_tree
from recap_core.lineage.manifest import read_manifest
from recap_core.lineage.store import Build, Built, Store

DATASET = {"num_episodes": 1, "num_frames": 100, "fps": 10, "tasks": ("t",)}
EVALUATION = {
    "num_episodes": 4, "num_successes": 2, "success_low": 0.1, "success_high": 0.9,
    "successes_per_1000_frames": 1.0,
}  # fmt: skip


def _made(store: Store, stage: Stage, details: dict, size: int, *sources: Artifact) -> Artifact:
    """An artifact of ``size`` bytes beside hard links to its first source."""

    def build(area: Build) -> Built:
        (area.output / "own").write_bytes(bytes(size))
        if sources:
            link_tree(store.path(sources[0]), area.output / "linked", digests=store.digests)
        return Built(details)

    inputs = {"datasets": sources}
    return store.produce(stage, ToyConfig(text=str(size)), inputs, name="a", build=build)


def _set_time(store: Store, artifact: Artifact, *, seconds: float, host: str = "here") -> None:
    """Rewrite when and where an artifact was made."""
    manifest = read_manifest(store.path(artifact))
    from datetime import timedelta

    changed = manifest.model_copy(
        update={"finished_at": manifest.started_at + timedelta(seconds=seconds), "host": host}
    )
    path: Path = store.path(artifact)
    path.chmod(0o755)
    (path / "artifact.json").unlink()
    (path / "artifact.json").write_text(changed.model_dump_json())


@pytest.fixture
def frames(store: Store) -> Store:
    """A conversion of 100 frames, and a merge that took 10 s and 300 new bytes for them."""
    source = _made(store, Stage("convert", 1, Dataset), DATASET, 1000)
    merged = _made(store, Stage("merge", 1, Dataset), DATASET, 300, source)
    _set_time(store, merged, seconds=10)
    return store


def test_time_and_disk_grow_with_the_frames(frames: Store) -> None:
    """Twice the frames of all inputs; files that are shared cost nothing."""
    estimate = Estimator(frames, "here").estimate("merge", {}, [150, 50])

    assert estimate.seconds == pytest.approx(20)
    assert estimate.new_bytes == 600
    assert (estimate.num_past, estimate.num_frames) == (1, 200)


def test_another_machine_says_nothing_about_time(frames: Store) -> None:
    """How large it gets is the same everywhere."""
    estimate = Estimator(frames, "elsewhere").estimate("merge", {}, [100])

    assert (estimate.seconds, estimate.new_bytes) == (None, 300)


def test_what_never_ran_is_not_known(store: Store) -> None:
    """Rather than a guess."""
    estimate = Estimator(store, "here").estimate("merge", {}, [100])

    assert (estimate.seconds, estimate.new_bytes, estimate.num_past) == (None, None, 0)


def test_training_takes_its_steps_and_one_model(store: Store) -> None:
    """Ten times the steps take ten times as long, and no more disk."""
    details = {"num_steps": 10, "num_params": 1}
    policy = _made(store, Stage("train_policy", 1, PolicyCheckpoint), details, 500)
    _set_time(store, policy, seconds=3)

    estimate = Estimator(store, "here").estimate("train_policy", {"train": {"num_steps": 100}}, [])
    assert estimate.seconds == pytest.approx(30)
    assert estimate.new_bytes == 500


def test_rollouts_take_their_episodes(store: Store) -> None:
    """Four took 8 s, so ten take 20."""
    evaluation = _made(store, Stage("evaluate", 1, Evaluation), EVALUATION, 50)
    _set_time(store, evaluation, seconds=8)

    estimate = Estimator(store, "here").estimate("evaluate", {"num_episodes": 10}, [])
    assert estimate.seconds == pytest.approx(20)


def test_where_the_work_is_not_known_the_last_runs_count(frames: Store) -> None:
    """An input that is yet to be made, of unknown length."""
    assert Estimator(frames, "here").estimate("merge", {}, [None]).seconds == pytest.approx(10)


def test_a_stage_without_frames_is_taken_as_it_was(store: Store) -> None:
    """Nothing to scale by."""
    stats = make_stats(store, "text")
    _set_time(store, stats, seconds=2)
    assert Estimator(store, "here").estimate("toy_stats", {}, []).seconds == pytest.approx(2)
