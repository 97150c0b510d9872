"""What a project remembers between flows."""

from pathlib import Path

import pytest

from flows.gate import decide
from flows.references import ProjectRefs
from flows.results import BootstrapResult, IterationResult, Judgement
from recap_core.config.gate import GateDecision
from recap_core.config.iteration import RecordIterationConfig
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
from recap_core.lineage.decisions import promote, rollback
from recap_core.lineage.keys import Stage
from recap_core.lineage.standing import held_back
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.record_iteration import record_iteration
from recap_core.stages.registry import NoSettings

PROMOTED = GateDecision(verdict="promoted", reasons=("better",))
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


def ended(
    store: Store,
    refs: ProjectRefs,
    k: int,
    policy: PolicyCheckpoint,
    decision: GateDecision,
    *,
    last_round: int | None = None,
) -> GateDecision:
    """The end of round ``k``, as a flow does it; what was decided."""
    name = tiny_project().project, tiny_project().robot
    parts = {"collector": refs.known_inputs(k).collector, "policy": policy}
    known = refs.recorded_decision(k, parts)
    at = refs.standing(k, policy, compared=parts["collector"], last_round=last_round)
    decision = known or held_back(decision, policy, at)
    record = record_iteration(
        parts,
        RecordIterationConfig(
            project=name[0],
            robot=name[1],
            round_index=k,
            decision=decision,
            settings=tiny_project().model_dump(mode="json", exclude={"runtime"}),
        ),
        name=f"round-{k}",
        store=store,
    )
    if known is None:
        refs.settle(policy, decision.verdict, at)
    refs.keep_round(record, policy)
    return decision


def test_another_bootstrap_replaces_only_a_starting_policy(
    store: Store, refs: ProjectRefs, caplog: pytest.LogCaptureFixture
) -> None:
    """What a round has promoted stays in use: nobody has compared it with the new start."""
    bootstrapped(store, refs)
    other = bootstrapped(store, refs, "other-sft")
    assert refs.get("current", PolicyCheckpoint) == other.policy

    better = publish(store, PolicyCheckpoint, "better")
    ended(store, refs, 1, better, PROMOTED)
    bootstrapped(store, refs, "other-sft")
    assert not [record for record in caplog.records if record.name.startswith("flows")]
    third = bootstrapped(store, refs, "third-sft")

    assert refs.get("current", PolicyCheckpoint) == better
    assert refs.policy("start") == third.policy
    assert "recap promote start --project demo/sim-aloha" in caplog.text


def test_a_finished_round_that_runs_again_moves_nothing(store: Store, refs: ProjectRefs) -> None:
    """Otherwise repeating an old round would roll the robot back; its decision stays too."""
    bootstrapped(store, refs)
    first = publish(store, PolicyCheckpoint, "first")
    second = publish(store, PolicyCheckpoint, "second")
    ended(store, refs, 1, first, PROMOTED)
    ended(store, refs, 2, second, PROMOTED)
    before = store.refs()

    assert ended(store, refs, 1, first, PROMOTED) == PROMOTED

    assert store.refs() == before
    assert refs.next_round() == 3
    rollback(store, "demo/sim-aloha", by="ana")
    before = store.refs()
    assert ended(store, refs, 2, second, PROMOTED) == PROMOTED
    assert store.refs() == before


def test_an_earlier_round_made_anew_leaves_current_to_the_later_ones(
    store: Store, refs: ProjectRefs
) -> None:
    """It is a candidate, however often it is repeated; made as before, it is what it was."""
    bootstrapped(store, refs)
    first, second, anew = (
        publish(store, PolicyCheckpoint, name) for name in ("first", "second", "anew")
    )
    ended(store, refs, 1, first, PROMOTED)
    ended(store, refs, 2, second, PROMOTED)

    for _ in range(2):
        assert ended(store, refs, 1, anew, PROMOTED).verdict == "candidate"
        assert refs.policy("current") == second
        assert refs.policy("candidate") == refs.policy("round-1-policy") == anew
    record = refs.finished_round(1)
    assert record is not None
    assert record.reasons[0].startswith("Round 1 was made anew after round 2 was finished")

    assert ended(store, refs, 1, first, PROMOTED) == PROMOTED
    assert refs.policy("current") == second
    assert refs.policy("round-1-policy") == first


def test_a_loop_that_makes_all_rounds_anew_ends_with_its_last(
    store: Store, refs: ProjectRefs
) -> None:
    """Each promotion replaces what the loop is about to make anew."""
    bootstrapped(store, refs)
    old = [publish(store, PolicyCheckpoint, f"old-{k}") for k in (1, 2)]
    new = [publish(store, PolicyCheckpoint, f"new-{k}") for k in (1, 2)]
    for k in (1, 2):
        ended(store, refs, k, old[k - 1], PROMOTED, last_round=2)
    assert refs.policy("current") == old[1]

    ended(store, refs, 1, new[0], PROMOTED, last_round=2)
    assert refs.policy("current") == new[0]
    ended(store, refs, 2, new[1], PROMOTED, last_round=2)
    assert refs.policy("current") == new[1]


def test_a_promotion_gives_way_to_a_person_who_was_faster(store: Store, refs: ProjectRefs) -> None:
    """Between the decision and the move of the ref; the new policy is a candidate then."""
    sft = bootstrapped(store, refs).policy
    new, by_hand = (publish(store, PolicyCheckpoint, name) for name in ("new", "by-hand"))
    at = refs.standing(1, new, compared=sft, last_round=None)
    promote(store, "demo/sim-aloha", by_hand, by="ana")

    refs.settle(new, "promoted", at)

    assert refs.policy("current") == by_hand
    assert refs.policy("candidate") == new
    rollback(store, "demo/sim-aloha", by="ana")
    promote(store, "demo/sim-aloha", new, by="ana")
    rollback(store, "demo/sim-aloha", by="ana")
    refs.settle(new, "promoted", at)  # approved, and rolled back before the run went on
    assert refs.policy("current") == sft


def test_a_round_out_of_turn_is_warned_of(store: Store, refs: ProjectRefs) -> None:
    """Not the next one, nor one that is only looked up again."""
    bootstrapped(store, refs)
    for k in (1, 2, 9):
        ended(store, refs, k, publish(store, PolicyCheckpoint, f"policy-{k}"), PROMOTED)

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

    ended(store, refs, 1, first, GateDecision(verdict="candidate"))
    assert refs.policy("candidate") == first

    ended(store, refs, 2, second, PROMOTED)
    ended(store, refs, 3, worse, GateDecision(verdict="kept"))
    assert refs.policy("candidate") == first
    assert refs.policy("current") == second


def test_a_round_without_a_promotion_leaves_current_to_people(
    store: Store, refs: ProjectRefs
) -> None:
    """Who promotes or rolls back while a round runs is not overruled at its end."""
    bootstrapped(store, refs)
    by_hand, new = (publish(store, PolicyCheckpoint, name) for name in ("by-hand", "new"))
    refs.set("current", by_hand)

    ended(store, refs, 1, new, GateDecision(verdict="candidate"))

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


def test_a_loop_that_was_interrupted_goes_on_with_the_round_as_it_is_now(
    store: Store, refs: ProjectRefs
) -> None:
    """Round 1 was made anew, round 2 not yet: its record followed the old round 1."""
    bootstrapped(store, refs)
    old, new, second = (publish(store, PolicyCheckpoint, name) for name in ("old", "new", "two"))
    ended(store, refs, 1, old, PROMOTED)
    ended(store, refs, 2, second, PROMOTED)
    ended(store, refs, 1, new, PROMOTED, last_round=2)

    known = IterationResult.model_construct(round_index=1, current=new)
    assert refs.collector_after(known, is_known=True) == new
    as_before = IterationResult.model_construct(round_index=1, current=old)
    assert refs.collector_after(as_before, is_known=True) == old


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


def test_a_name_that_is_none_is_answered_with_those_there_are(
    store: Store, refs: ProjectRefs
) -> None:
    """Also one with a slash that is no whole ref, as people write it from memory."""
    refs.set("current", publish(store, PolicyCheckpoint, "grip"))

    for name in ("currant", "policy/current", "a/b/c/current"):
        with pytest.raises(ArtifactNotFoundError, match=rf"no policy '{name}'.* has: current\."):
            refs.policy(name)
    assert refs.policy(f"{refs.name}/current") == refs.policy("current")
