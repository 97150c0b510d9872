"""An operator's evaluation: recorded and marked episodes of a policy."""

import json
from collections.abc import Mapping
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
from recap_core.stages.score_recording import default_takeovers, left_out_of, score_recording
from tests.judged_policies import make_policy


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def record(
    store: Store,
    name: str,
    driver: PolicyCheckpoint | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Recording:
    """Four episodes: success, success, failure, failure; somebody took over in two of them."""

    def build(area: Build) -> Built:
        write_synthetic_recording(area.output, robot=SyntheticRobot(cameras=()))
        for path in area.output.glob("episode_*/metadata.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), **(metadata or {})}))
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


def test_nobody_takes_over_in_an_evaluation(store: Store) -> None:
    """Episodes of a session that was recorded as one are disqualified by it, each by name."""
    policy = make_policy(store, "new")
    passive = record(store, "passive", metadata={"mode": "evaluation"})

    assert default_takeovers(record(store, "day"), store) == "failure"
    assert default_takeovers(passive, store) == "leave_out"
    config = ScoreConfig(takeovers="leave_out")
    scored = score_recording(passive, policy, config, name="alone", store=store)
    left_out = left_out_of(scored, store)

    assert scored.num_episodes + len(left_out) == 4
    assert all(each.is_helped for each in left_out)
    assert left_out[0].why.startswith("disqualified: somebody took over for ")


def test_who_only_wanted_to_take_over_disqualifies_too(store: Store) -> None:
    """A live session refuses the correction, and writes down that it was asked for."""
    asked = {"mode": "evaluation", "disqualified": "a correction was asked for"}
    passive = record(store, "asked", metadata=asked)
    policy = make_policy(store, "new")

    with pytest.raises(DataError, match="no episode that counts"):
        score_recording(passive, policy, ScoreConfig(takeovers="leave_out"), name="x", store=store)
    scored = score_recording(passive, policy, ScoreConfig(), name="failed", store=store)
    assert scored.num_successes == 0


def test_an_episode_says_when_it_was_and_why_it_failed(store: Store) -> None:
    """From its files; an annotation's note says it better."""
    policy = make_policy(store, "new")
    recording = record(store, "day", metadata={"failure_reason": "gripper slipped"})
    names = sorted(path.name for path in store.path(recording).glob("episode_*"))
    entry = EpisodeAnnotation(episode=names[0], outcome="failure", note="cube was wet")
    noted = annotate_episodes(
        recording, AnnotateConfig(episodes=(entry,)), name="noted", store=store
    )

    scored = score_recording(
        recording, policy, ScoreConfig(), name="scored", store=store, annotations=noted
    )

    episodes = {each.episode: each for each in episodes_of(scored, store)}
    reasons = {each.failure_reason for each in episodes.values() if not each.success}
    assert episodes[names[0]].failure_reason in {"cube was wet", "somebody took over"}
    assert reasons <= {"cube was wet", "somebody took over", "gripper slipped"}
    starts = [episodes[name].started_at_s for name in names]
    assert starts == [1_700_000_000.0 + 1000 * index for index in range(4)]
    assert all(each.duration_s for each in episodes.values())


def test_the_policy_that_a_recorder_has_noted(store: Store) -> None:
    """By its id, as the server named it; another one is refused, and so are two."""
    old, new = make_policy(store, "old"), make_policy(store, "new")
    noted = record(store, "noted", metadata={"policy_ids": [old.id]})
    both = record(store, "both", metadata={"policy_ids": [old.id, f"new-{new.id[:8]}"]})
    unknown = record(store, "unknown", metadata={"policy_ids": ["scripted"]})

    with pytest.raises(IncompatibleError, match="driven by old-"):
        score_recording(noted, new, ScoreConfig(), name="no", store=store)
    with pytest.raises(IncompatibleError, match="several policies"):
        score_recording(both, new, ScoreConfig(), name="no", store=store)
    scored = score_recording(unknown, new, ScoreConfig(), name="yes", store=store)
    assert scored.num_episodes == 4
