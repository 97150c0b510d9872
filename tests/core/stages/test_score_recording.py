"""An operator's evaluation: recorded and marked episodes of a policy."""

from pathlib import Path

import pytest

from recap_core.config.annotations import AnnotateConfig, EpisodeAnnotation
from recap_core.config.base import Config
from recap_core.config.gate import GateConfig
from recap_core.config.score import ScoreConfig
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_recording
from recap_core.errors import DataError, IncompatibleError
from recap_core.lineage.artifacts import PolicyCheckpoint, Recording
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.annotate import annotate_episodes
from recap_core.stages.judge import episodes_of, judge
from recap_core.stages.score_recording import score_recording
from tests.judged_policies import make_policy


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def record(store: Store, name: str, driver: PolicyCheckpoint | None = None) -> Recording:
    """Four episodes: success, success, failure, failure; somebody took over in two of them."""

    def build(area: Build) -> Built:
        write_synthetic_recording(area.output, robot=SyntheticRobot(cameras=()))
        return Built(
            {
                "num_episodes": 4,
                "num_frames": 46,
                "num_successes": 2,
                "num_intervention_frames": 5,
                "fps": 10,
                "task": "transfer cube",
                "mode": "rollout",
                "round_index": 1,
            }
        )

    stage = Stage(f"synthetic-{name}", 1, Recording)
    return store.produce(stage, Config(), {"policy": driver}, name=name, build=build)


def test_takeovers_are_failures(store: Store) -> None:
    """Or left out; each is another evaluation, and the two are not compared."""
    policy, recording = make_policy(store, "new"), record(store, "day")

    strict = score_recording(recording, policy, ScoreConfig(), name="strict", store=store)
    alone = score_recording(
        recording, policy, ScoreConfig(takeovers="leave_out"), name="alone", store=store
    )

    assert strict.num_episodes == 4
    assert alone.num_episodes < 4
    assert strict.num_successes == alone.num_successes
    assert strict.parents == (recording.id, policy.id)
    decision = judge(strict, alone, GateConfig(), offline=None, store=store)
    assert "differ in takeovers" in decision.reasons[0]


def test_corrections_count(store: Store) -> None:
    """An outcome that was marked wrong, an episode that says nothing; none left is an error."""
    policy, recording = make_policy(store, "new"), record(store, "day")
    names = sorted(path.name for path in store.path(recording).glob("episode_*"))
    plain = score_recording(recording, policy, ScoreConfig(), name="plain", store=store)
    wrong = AnnotateConfig(
        episodes=(
            EpisodeAnnotation(episode=names[0], outcome="failure"),
            EpisodeAnnotation(episode=names[3], excluded=True),
        )
    )
    all_out = AnnotateConfig(
        episodes=tuple(EpisodeAnnotation(episode=name, excluded=True) for name in names)
    )

    corrected = score_recording(
        recording, policy, ScoreConfig(), name="corrected", store=store,
        annotations=annotate_episodes(recording, wrong, name="wrong", store=store),
    )  # fmt: skip

    assert corrected.num_episodes == 3
    assert corrected.num_successes <= plain.num_successes
    with pytest.raises(DataError, match="no episode that counts"):
        score_recording(
            recording, policy, ScoreConfig(), name="none", store=store,
            annotations=annotate_episodes(recording, all_out, name="out", store=store),
        )  # fmt: skip


def test_two_days_share_no_seed(store: Store) -> None:
    """Nobody can say that scenes were the same, so they are compared as independent samples."""
    old, new = make_policy(store, "old"), make_policy(store, "new")
    before = score_recording(record(store, "a"), old, ScoreConfig(), name="a", store=store)
    after = score_recording(record(store, "b"), new, ScoreConfig(), name="b", store=store)

    seeds = [{episode.seed for episode in episodes_of(each, store)} for each in (before, after)]
    decision = judge(before, after, GateConfig(), offline=None, store=store)

    assert not seeds[0] & seeds[1]
    assert decision.overall is not None
    assert not decision.overall.is_paired
    assert decision.verdict == "candidate"
    assert "evaluate 16 more" in decision.reasons[0]


def test_another_policys_recording_is_refused(store: Store) -> None:
    """Where the recording knows who drove."""
    old, new = make_policy(store, "old"), make_policy(store, "new")

    with pytest.raises(IncompatibleError, match="driven by old-"):
        score_recording(record(store, "c", old), new, ScoreConfig(), name="no", store=store)
