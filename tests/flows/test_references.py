"""What a project remembers between flows."""

from pathlib import Path

import pytest

from flows.gate import decide
from flows.references import ProjectRefs
from flows.results import BootstrapResult, IterationResult, Judgement
from recap_core.config.presets import tiny_project
from recap_core.errors import ArtifactNotFoundError, DataError, IncompatibleError
from recap_core.lineage.artifacts import (
    Annotations,
    Dataset,
    Evaluation,
    NormStats,
    PolicyCheckpoint,
    Recording,
    ValueCheckpoint,
)
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import NoSettings

ID = "0123456789abcdef" * 2
DATASET = {
    "num_episodes": 1,
    "num_frames": 3,
    "fps": 10,
    "tasks": ("transfer cube",),
}
DETAILS = {
    PolicyCheckpoint: {"num_steps": 1, "num_params": 1},
    Dataset: DATASET,
    NormStats: {"num_frames": 3},
    ValueCheckpoint: {"num_steps": 0, "num_params": 1, "healthy": False},
    Annotations: {"num_changed": 1, "num_excluded": 0},
    Recording: {
        "num_episodes": 1,
        "num_frames": 3,
        "num_successes": 1,
        "num_intervention_frames": 0,
        "fps": 10,
        "task": "transfer cube",
        "mode": "rollout",
        "round_index": 1,
    },
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path)


@pytest.fixture
def refs(store: Store) -> ProjectRefs:
    """Refs of the demo."""
    return ProjectRefs(store, tiny_project())


def publish[A: (PolicyCheckpoint, Dataset, NormStats, Recording, Annotations, ValueCheckpoint)](
    store: Store, kind: type[A], name: str, **inputs: PolicyCheckpoint | Recording
) -> A:
    """A tiny artifact of some kind."""

    def build(area: Build) -> Built:
        (area.output / "name.txt").write_text(name)
        return Built(DETAILS[kind])

    stage = Stage(f"make-{name}", 1, kind)
    artifact = store.produce(stage, NoSettings(), inputs, name=name, build=build)
    assert isinstance(artifact, kind)
    return artifact


def bootstrapped(store: Store, refs: ProjectRefs, name: str = "sft") -> BootstrapResult:
    """A remembered bootstrap."""
    result = BootstrapResult(
        recordings=(publish(store, Recording, "recording"),),
        demonstrations=publish(store, Dataset, "demonstrations"),
        norm_stats=publish(store, NormStats, "stats"),
        policy=publish(store, PolicyCheckpoint, name),
        evaluation=evaluation(5),
    )
    refs.keep_bootstrap(result)
    return result


def evaluation(num_successes: int) -> Evaluation:
    return Evaluation(
        id=ID,
        name="e",
        digest="d",
        num_episodes=10,
        num_successes=num_successes,
        success_low=0,
        success_high=1,
        successes_per_1000_frames=1,
    )


def test_a_project_without_a_bootstrap_says_what_to_do(refs: ProjectRefs) -> None:
    """The error names the ref and the flow."""
    assert not refs.is_bootstrapped()
    with pytest.raises(ArtifactNotFoundError, match=r"demo/sim-aloha/start.*bootstrap"):
        refs.round_inputs(1)


def test_the_first_round_starts_from_the_bootstrap(store: Store, refs: ProjectRefs) -> None:
    """The SFT collects, and is what fine-tuning starts from."""
    result = bootstrapped(store, refs)

    inputs = refs.round_inputs(1)

    assert refs.next_round() == 1
    assert (inputs.start, inputs.collector) == (result.policy, result.policy)
    assert inputs.earlier == ()


def test_every_round_starts_its_value_model_from_the_same_weights(store: Store) -> None:
    """Those that ``iteration.value_start`` names; what is no value model is refused."""
    project = tiny_project()
    iteration = project.iteration.model_copy(update={"value_start": "pretrained/value/base"})
    refs = ProjectRefs(store, project.model_copy(update={"iteration": iteration}))
    policy = bootstrapped(store, refs).policy
    with pytest.raises(ArtifactNotFoundError, match=r"recap value import .*value_start=null"):
        refs.round_inputs(1)
    store.set_ref("pretrained/value/base", policy)
    with pytest.raises(IncompatibleError, match="a policy_checkpoint; it must be a value model"):
        refs.round_inputs(1)

    base = publish(store, ValueCheckpoint, "base")
    store.set_ref("pretrained/value/base", base)

    assert [refs.round_inputs(k).value_start for k in (1, 2)] == [base, base]


def test_a_round_applies_the_annotations_of_its_project(store: Store, refs: ProjectRefs) -> None:
    """None until somebody corrects an episode; then those of that moment."""
    bootstrapped(store, refs)
    assert refs.round_inputs(1).annotations is None

    annotations = publish(store, Annotations, "corrections")
    refs.set("annotations", annotations)

    assert refs.round_inputs(1).annotations == annotations


def test_a_repeated_bootstrap_leaves_the_current_policy_alone(
    store: Store, refs: ProjectRefs
) -> None:
    """Only another starting policy replaces it."""
    bootstrapped(store, refs)
    better = publish(store, PolicyCheckpoint, "better")
    refs.keep_round(1, better, "promoted")

    bootstrapped(store, refs)
    assert refs.get("current", PolicyCheckpoint) == better

    other = bootstrapped(store, refs, "other-sft")
    assert refs.get("current", PolicyCheckpoint) == other.policy


def test_a_finished_round_that_runs_again_moves_nothing(store: Store, refs: ProjectRefs) -> None:
    """Otherwise repeating an old round would roll the robot back."""
    bootstrapped(store, refs)
    first = publish(store, PolicyCheckpoint, "first")
    second = publish(store, PolicyCheckpoint, "second")
    refs.keep_round(1, first, "promoted")
    refs.keep_round(2, second, "promoted")

    refs.keep_round(1, first, "promoted")

    assert refs.get("current", PolicyCheckpoint) == second
    assert refs.next_round() == 3


def test_a_round_out_of_turn_is_warned_of(store: Store, refs: ProjectRefs) -> None:
    """Not the next one, nor one that is only looked up again."""
    bootstrapped(store, refs)
    for k in (1, 2, 9):
        refs.keep_round(k, publish(store, PolicyCheckpoint, f"policy-{k}"), "promoted")

    assert [refs.out_of_turn(k) for k in (1, 2, 3, 9)] == [None] * 4
    assert "round 3 has not finished" in (refs.out_of_turn(4) or "")


def test_a_round_that_has_recorded_keeps_its_collector(store: Store, refs: ProjectRefs) -> None:
    """Although ``current`` has moved since; so its recording is found again."""
    result = bootstrapped(store, refs)
    recording = publish(store, Recording, "round-1-recording", policy=result.policy)
    rollouts = publish(store, Dataset, "round-1", recording=recording)
    refs.set("round-1-dataset", rollouts)
    refs.set("current", publish(store, PolicyCheckpoint, "promoted-by-hand"))

    assert refs.round_inputs(1).collector == result.policy
    assert refs.round_inputs(2).collector.name == "promoted-by-hand"
    assert refs.round_inputs(2).earlier == (rollouts,)


def test_a_ref_to_another_kind_is_refused(store: Store, refs: ProjectRefs) -> None:
    """The message names both."""
    refs.set("start", publish(store, NormStats, "stats"))

    with pytest.raises(IncompatibleError, match="points to norm_stats stats"):
        refs.is_bootstrapped()


def test_without_an_evaluation_a_person_decides(recap_home: Path) -> None:
    """Unless the project always promotes."""
    del recap_home
    decision = decide(Judgement(), tiny_project().iteration)

    assert decision.verdict == "candidate"
    assert decision.reasons


def test_a_policy_is_found_by_what_people_call_it(store: Store, refs: ProjectRefs) -> None:
    """A ref of the project, any ref, ``name-id8`` or an id; otherwise the names there are."""
    policy = bootstrapped(store, refs).policy

    for name in ("start", "current", "demo/sim-aloha/start", f"sft-{policy.id[:8]}", policy.id):
        assert refs.policy(name) == policy
    with pytest.raises(ArtifactNotFoundError, match=r"no policy 'round-3.*current, start"):
        refs.policy("round-3-policy")
    with pytest.raises(IncompatibleError, match="'demonstrations' is dataset demonstrations, no"):
        refs.policy("demonstrations")


def test_a_candidate_is_the_newest_policy_that_waits_for_a_person(
    store: Store, refs: ProjectRefs
) -> None:
    """A promotion leaves it alone, and so does a policy that was shown to be worse."""
    bootstrapped(store, refs)
    first, second, worse = (
        publish(store, PolicyCheckpoint, name) for name in ("first", "second", "worse")
    )

    refs.keep_round(1, first, "candidate")
    assert refs.policy("candidate") == first

    refs.keep_round(2, second, "promoted")
    refs.keep_round(3, worse, "kept")
    assert refs.policy("candidate") == first
    assert refs.policy("current") == second


def test_a_round_without_a_promotion_leaves_current_to_people(
    store: Store, refs: ProjectRefs
) -> None:
    """Who promotes or rolls back while a round runs is not overruled at its end."""
    bootstrapped(store, refs)
    by_hand, new = (publish(store, PolicyCheckpoint, name) for name in ("by-hand", "new"))
    refs.set("current", by_hand)

    refs.keep_round(1, new, "candidate")

    assert refs.policy("current") == by_hand
    assert refs.policy("candidate") == new


def test_a_loop_goes_on_with_what_people_put_in_use(store: Store, refs: ProjectRefs) -> None:
    """After a round that is only looked up; a round that was made anew says itself."""
    first = bootstrapped(store, refs).policy
    by_hand = publish(store, PolicyCheckpoint, "by-hand")
    round_1 = IterationResult.model_construct(round_index=1, current=first)
    refs.set("current", by_hand)

    assert refs.collector_after(round_1, is_known=True) == by_hand
    assert refs.collector_after(round_1, is_known=False) == first


def test_only_ingested_recordings_of_the_project_are_new(store: Store, refs: ProjectRefs) -> None:
    """A round that needs some and finds none says what to do."""
    bootstrapped(store, refs)
    publish(store, Recording, "of-another-project")
    assert refs.new_recordings() == ()

    recording = publish(store, Recording, "monday")
    refs.keep_recording(recording)

    assert refs.has_recording(recording)
    assert refs.new_recordings() == (recording,)
    assert refs.recordings("demonstration") == ()
    project = tiny_project()
    iteration = project.iteration.model_copy(update={"episodes": "recordings"})
    robots = project.model_copy(update={"project": "robots", "iteration": iteration})
    with pytest.raises(DataError, match="nothing new was recorded for robots/sim-aloha"):
        ProjectRefs(store, robots).round_recordings(1)
