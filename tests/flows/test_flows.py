"""The flows on the smallest real project: what is reused, made anew, and remembered."""

import shutil
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import TaskRun

from flows.bootstrap import bootstrap
from flows.evaluation import evaluate_only
from flows.forms import IngestChoice, LabelChoice, RoundChoice
from flows.ingest import ingest_recordings
from flows.iteration import recap_iteration
from flows.loop import recap_loop
from flows.plans import plan_round
from flows.references import ProjectRefs
from flows.relabeling import relabel_only
from flows.results import IterationResult, LoopResult
from flows.stage3 import stage3
from recap_core.config.annotations import AnnotateConfig, EpisodeAnnotation
from recap_core.config.flows import ProjectConfig
from recap_core.config.gate import GateConfig
from recap_core.errors import ArtifactNotFoundError, DataError, UnhealthyValueModelError
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.project_files import load_project
from recap_core.lineage.store import Store
from recap_core.stages.annotate import annotate_episodes
from tasks.planning import Plan
from tests.flows.conftest import saved
from tests.flows.nights import arrived, night, report, with_inbox

pytestmark = pytest.mark.slow
NUM_TASKS = 20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """One store for the module: what one test has made, the others reuse."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("flows")
        patch.setenv("RECAP_HOME", str(path))
        yield path


@pytest.fixture(scope="module")
def first(prefect_api: None, home: Path, small_project: ProjectConfig) -> LoopResult:
    """A bootstrap and one round."""
    del prefect_api, home
    return recap_loop(saved(small_project), rounds=1)


def named(project: ProjectConfig, name: str) -> ProjectConfig:
    """The same settings under other refs: names of projects are part of no stage key."""
    return project.model_copy(update={"project": name})


def with_iteration(project: ProjectConfig, **changes: object) -> ProjectConfig:
    return project.model_copy(update={"iteration": project.iteration.model_copy(update=changes)})


def is_stage(run: TaskRun) -> bool:
    """Whether a task run is no stand-in for a subflow."""
    return run.state is not None and run.state.state_details.child_flow_run_id is None


def task_states(since: datetime, num_tasks: int) -> dict[str, str]:
    """State by name of the stage tasks that started since then; their record lags a little."""
    found: dict[str, str] = {}
    for _ in range(1500):
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(limit=200)
        found = {
            run.name: run.state_name or ""
            for run in runs
            if run.start_time is not None and run.start_time >= since and is_stage(run)
        }
        if len(found) >= num_tasks and not {"Pending", "Running"} & set(found.values()):
            break
        time.sleep(0.2)
    return found


def test_a_second_run_executes_nothing(first: LoopResult, small_project: ProjectConfig) -> None:
    """Every stage is ``Cached`` in Prefect, and the result is equal to the first."""
    began = datetime.now(UTC)

    again = recap_loop(saved(small_project), rounds=1)

    assert again == first
    states = task_states(began, NUM_TASKS)
    assert len(states) == NUM_TASKS
    assert set(states.values()) == {"Cached"}


def test_a_changed_label_rule_reuses_everything_before_it(
    first: LoopResult, small_project: ProjectConfig
) -> None:
    """Recording, value model, values, copy and control stay; labels and policy are new."""
    label = small_project.iteration.label.model_copy(update={"positive_share": 0.5})
    changed = with_iteration(named(small_project, "other-labels"), label=label)

    result = recap_loop(saved(changed), rounds=1).rounds[0]

    before = first.rounds[0]
    assert first.bootstrap == recap_loop(saved(changed), rounds=1).bootstrap
    assert result.experience == before.experience
    assert result.learning.value_model == before.learning.value_model
    assert result.judgement.control == before.judgement.control
    assert result.learning.relabeling is not None
    assert before.learning.relabeling is not None
    assert result.learning.relabeling.values == before.learning.relabeling.values
    assert result.learning.relabeling.copy_of_merged == before.learning.relabeling.copy_of_merged
    assert result.learning.relabeling.labels != before.learning.relabeling.labels
    assert result.learning.policy != before.learning.policy


def test_the_source_of_a_relabel_stays_as_it_was(first: LoopResult, home: Path) -> None:
    """Merged dataset, its copy and the relabelled dataset all have the content they published."""
    relabeling = first.rounds[0].learning.relabeling
    assert relabeling is not None
    store = Store(home)

    store.verify(first.rounds[0].experience.merged)
    store.verify(relabeling.copy_of_merged)
    store.verify(relabeling.dataset)
    assert relabeling.copy_of_merged.digest == first.rounds[0].experience.merged.digest


def test_every_key_in_prefect_is_the_stores_own(first: LoopResult, home: Path) -> None:
    """Otherwise a cached run would compute other keys than the stages publish under."""
    del first
    manifests = list(Store(home).artifacts())
    since = min(manifest.started_at for manifest in manifests)  # before, runs were of other stores
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(limit=200)
    states = [
        run.state for run in runs if run.start_time and run.start_time >= since and is_stage(run)
    ]
    records = [state.data for state in states if state is not None and state.is_completed()]
    keys = {Path(str(record.storage_key)).name for record in records if record is not None}

    assert keys
    assert keys <= {manifest.stage_key for manifest in manifests}


def test_the_next_round_builds_on_the_refs_of_the_last(
    first: LoopResult, home: Path, small_project: ProjectConfig
) -> None:
    """It collects with ``current``, merges the earlier round, and starts from the SFT."""
    project = with_iteration(named(small_project, "two-rounds"), gate=GateConfig(rule="always"))
    one = recap_loop(saved(project), rounds=1).rounds[0]

    two = recap_iteration(saved(project))

    store = Store(home)
    assert two.round_index == 2
    assert two.inputs.collector == one.learning.policy
    assert two.inputs.start == first.bootstrap.policy
    assert two.experience.merged.parents == (
        first.bootstrap.demonstrations.id,
        one.experience.rollouts[0].id,
        two.experience.rollouts[0].id,
    )
    assert store.get("two-rounds/sim-aloha/current") == two.learning.policy
    assert recap_iteration(saved(project), this_round=RoundChoice(index=2)) == two
    timeline = versions("iteration-two-rounds-sim-aloha")
    assert "Round 2: " in timeline[0]
    assert any("Round 1: " in text for text in timeline)


def test_a_policy_that_is_not_promoted_stays_a_candidate(
    first: LoopResult, home: Path, small_project: ProjectConfig
) -> None:
    """The old policy stays ``current``, and collects again in the next round."""
    project = with_iteration(named(small_project, "cautious"), gate=GateConfig(rule="never"))

    result = recap_loop(saved(project), rounds=1).rounds[0]

    store = Store(home)
    assert not result.is_promoted
    assert store.get("cautious/sim-aloha/current") == first.bootstrap.policy
    assert store.get("cautious/sim-aloha/candidate") == result.learning.policy


def test_an_earlier_round_made_anew_waits_for_a_person(
    first: LoopResult, home: Path, small_project: ProjectConfig
) -> None:
    """A later round is finished, so nobody has compared the new policy with what is in use."""
    del first
    project = with_iteration(named(small_project, "anew"), gate=GateConfig(rule="always"))
    name, store, where = saved(project), Store(home), "anew/sim-aloha"
    recap_loop(name, rounds=2)
    before = own_refs(store, where)
    labels, index = LabelChoice(positive_share=0.5), RoundChoice(index=1)

    anew = recap_iteration(name, this_round=index, labels=labels)

    assert anew.decision.verdict == "candidate"
    assert anew.decision.reasons[0].startswith("Round 1 was made anew after round 2 was finished")
    after = own_refs(store, where)
    moved = {"candidate", "round-1", "round-1-policy", "round-1-relabeled"}
    assert {ref for ref in after if after[ref] != before.get(ref)} == moved
    assert after["candidate"] == anew.learning.policy.id
    assert recap_iteration(name, this_round=index, labels=labels) == anew
    assert own_refs(store, where) == after

    recap_loop(name, rounds=2)  # as before, all of it cached

    assert own_refs(store, where) == {**before, "candidate": anew.learning.policy.id}


def own_refs(store: Store, project: str) -> dict[str, str]:
    """Id by name of a project's refs."""
    found = {ref: id_ for ref, id_ in store.refs().items() if ref.startswith(f"{project}/")}
    return {ref.removeprefix(f"{project}/"): id_ for ref, id_ in found.items()}


def test_corrections_rerun_what_depends_on_them(
    first: LoopResult, home: Path, small_project: ProjectConfig
) -> None:
    """One mark corrected, one episode excluded: all from the conversion on is made anew.

    Recordings, demonstrations, SFT, norm stats, the control and the evaluations of both stay.
    """
    store, before = Store(home), first.rounds[0]
    names = sorted(
        path.name for path in store.path(before.experience.recordings[0]).glob("episode_*")
    )
    wrong = (store.path(before.experience.recordings[0]) / names[0] / "SUCCESS").is_file()
    said = AnnotateConfig(
        episodes=(
            EpisodeAnnotation(episode=names[0], outcome="failure" if wrong else "success"),
            EpisodeAnnotation(episode=names[1], excluded=True),
        )
    )
    annotations = annotate_episodes(
        before.experience.recordings[0], said, name="corrections", store=store
    )
    store.set_ref("corrected/sim-aloha/annotations", annotations)
    began = datetime.now(UTC)

    result = recap_loop(saved(named(small_project, "corrected")), rounds=1)

    states = task_states(began, NUM_TASKS)
    assert {name for name, state in states.items() if state != "Cached"} == {
        "convert-round-1",
        "merge-round-1-merged",
        "train-value-round-1",
        "infer-values-round-1",
        "label-round-1",
        "copy-round-1-copy",
        "relabel-round-1-relabeled",
        "train-policy-round-1",
        "evaluate-round-1",
        "report-round-1",
        "record-iteration-round-1",
    }
    assert result.bootstrap == first.bootstrap
    merged = result.rounds[0].experience.merged
    assert merged.num_episodes == before.experience.merged.num_episodes - 1


def unhealthy(project: ProjectConfig) -> ProjectConfig:
    """No value model reaches a rank correlation of one."""
    value = project.iteration.value
    health = value.health.model_copy(update={"min_spearman": 1.0})
    return with_iteration(project, value=value.model_copy(update={"health": health}))


def test_an_unhealthy_value_model_labels_nothing(
    first: LoopResult, home: Path, small_project: ProjectConfig
) -> None:
    """The round falls back to the collector's labels, and says so in an artifact and its report."""
    project = unhealthy(named(small_project, "unhealthy"))

    result: IterationResult = recap_loop(saved(project), rounds=1).rounds[0]

    assert not result.learning.value_model.healthy
    assert result.learning.relabeling is None
    merged = result.experience.merged
    assert merged == first.rounds[0].experience.merged
    assert merged.id in result.learning.policy.parents
    assert any("falls back" in text for text in versions("unhealthy-value-model"))
    page = (Store(home).path(result.report) / "index.html").read_text(encoding="utf-8")
    assert "The value model was not healthy (rank correlation with the target is " in page
    assert "the policy was trained on the collector" in page
    assert stage3(saved(project)).policy == result.learning.policy


def test_a_round_that_stops_moves_no_ref(
    first: LoopResult, home: Path, small_project: ProjectConfig
) -> None:
    """An unhealthy value model may end the round instead; the policy in use stays in use."""
    del first
    project = unhealthy(named(small_project, "strict"))
    project = with_iteration(project, on_unhealthy_value_model="stop")

    with pytest.raises(UnhealthyValueModelError, match="did not pass its health gate"):
        recap_loop(saved(project), rounds=1)

    refs = {ref for ref in Store(home).refs() if ref.startswith("strict/")}
    assert "strict/sim-aloha/round-1-policy" not in refs
    assert "strict/sim-aloha/candidate" not in refs
    assert Store(home).get("strict/sim-aloha/current") == bootstrap(saved(project)).policy


def versions(key: str) -> list[str]:
    """Descriptions of the versions of an artifact, newest first."""
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])),
            limit=50,
        )
    artifacts.sort(key=lambda artifact: artifact.created or datetime.min.replace(tzinfo=UTC))
    return [artifact.description or "" for artifact in reversed(artifacts)]


def copy_sessions(recording: Path, inbox: Path, *, cut: int) -> None:
    """A recording's episodes as two sessions that a robot has copied."""
    episodes = sorted(recording.glob("episode_*"))
    for name, part in (("monday", episodes[:cut]), ("tuesday", episodes[cut:])):
        for episode in part:
            shutil.copytree(episode, inbox / name / episode.name)
        (inbox / name / "session_summary.json").write_text(f'{{"episodes": {len(part)}}}')


def test_a_round_from_recordings_ends_with_a_candidate(
    first: LoopResult, home: Path, small_project: ProjectConfig, tmp_path: Path
) -> None:
    """Two whole sessions are taken once, a half-copied one is not; an operator has to decide."""
    source = Store(home).path(first.rounds[0].experience.recordings[0])
    copy_sessions(source, tmp_path, cut=8)
    (tmp_path / "wednesday" / "episode_000").mkdir(parents=True)
    project = with_iteration(
        named(small_project, "robots"),
        episodes="recordings",
        judge="operator",
        inbox=str(tmp_path),
        gate=GateConfig(required_checks=()),  # four training steps pass no check
    )
    name, quiet = saved(project), IngestChoice(quiet_s=0.0)
    bootstrap(name)

    taken = ingest_recordings(name, sessions=quiet)
    assert [one.session for one in taken.taken] == ["monday", "tuesday"]
    assert "session_summary.json" in taken.skipped[0].reason
    assert not ingest_recordings(name, sessions=quiet).new_recordings

    result = recap_iteration(name)

    refs = ProjectRefs(Store(home), project)
    assert {one.id for one in result.experience.recordings} == {
        one.id for one in taken.new_recordings
    }
    assert len(result.experience.rollouts) == 2
    assert result.judgement.after is None
    assert result.decision.verdict == "candidate"
    assert refs.policy("candidate") == result.learning.policy
    assert refs.policy("current") == first.bootstrap.policy
    assert not refs.new_recordings()
    assert recap_iteration(name, this_round=RoundChoice(index=1)) == result
    with pytest.raises(DataError, match=r"nothing new was recorded for robots/sim-aloha"):
        recap_iteration(name)


def test_new_labels_without_training(
    first: LoopResult, home: Path, small_project: ProjectConfig
) -> None:
    """The newest round's data and value model, under another rule; the round keeps its own."""
    before = first.rounds[0].learning.relabeling
    assert before is not None

    result = relabel_only(saved(small_project), labels=LabelChoice(positive_share=0.6))

    assert result.merged == first.rounds[0].experience.merged
    assert result.value_model == first.rounds[0].learning.value_model
    assert result.relabeling.values == before.values
    assert result.relabeling.labels.num_positive > before.labels.num_positive
    assert Store(home).get("plumbing/sim-aloha/relabeled") == result.relabeling.dataset
    assert Store(home).get("plumbing/sim-aloha/round-1-relabeled") == before.dataset


def test_policies_side_by_side(first: LoopResult, small_project: ProjectConfig) -> None:
    """By readable name, on the project's seeds; a wrong name says which there are."""
    name = saved(small_project)

    result = evaluate_only(name, policies=("start", "round-1-policy"))

    assert result.policies == (first.bootstrap.policy, first.rounds[0].learning.policy)
    assert result.evaluations[1] == first.rounds[0].judgement.after
    assert versions("evaluation-plumbing-sim-aloha") == ["start, round-1-policy on 2 episodes"]
    with pytest.raises(ArtifactNotFoundError, match=r"no policy 'round-9-policy'.*round-1-policy"):
        evaluate_only(name, policies=("round-9-policy",))


def test_a_night_makes_a_candidate_and_the_next_one_finds_nothing_new(
    first: LoopResult, small_project: ProjectConfig, tmp_path: Path, home: Path
) -> None:
    """What robots recorded by day is taken in, learned from once, and left to an operator."""
    project = with_inbox(small_project, "robots-at-night", tmp_path / "inbox")
    source = Store(home).path(first.rounds[0].experience.recordings[0])
    copy_sessions(source, tmp_path / "inbox", cut=8)
    (tmp_path / "inbox" / "wednesday" / "episode_000").mkdir(parents=True)
    bootstrap(project)

    state = night(project)
    again = night(project)

    assert state.name == "Completed"
    assert state.result().outcome == "trained"
    refs = ProjectRefs(Store(home), load_project(home, project))
    policy = refs.policy("candidate")
    assert state.message == f"round 1: {policy.name}-{policy.id[:8]} is candidate"
    assert refs.policy("current") == first.bootstrap.policy
    assert again.name == "Nothing new"
    assert "wednesday" in report(project)


@pytest.mark.usefixtures("first")
def test_a_failed_night_leaves_the_policy_and_names_the_stage(
    home: Path,
    small_project: ProjectConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A recording of another robot cannot be learned from; it stays for the next night."""
    monkeypatch.setattr("flows.nightly.RECORD_LAG_S", 120.0)  # asked until the record is there
    project = with_inbox(small_project, "night", tmp_path / "inbox")
    bootstrap(project)
    refs = ProjectRefs(Store(home), load_project(home, project))
    before = refs.get("current", PolicyCheckpoint)
    arrived(tmp_path / "inbox", 2)

    state = night(project)

    assert state.is_failed()
    assert (state.message or "").startswith("merge-round-1")
    assert refs.get("current", PolicyCheckpoint) == before
    assert len(refs.new_recordings()) == 1
    told = report(project)
    assert f"still `{before.name}-{before.id[:8]}`" in told
    assert "Stage **merge-round-1" in told


def planned(project: ProjectConfig, *refresh: str) -> Plan:
    """What round 1 of a project would do."""
    return plan_round(project, 1, refresh).plan


def would_run(plan: Plan) -> list[str]:
    return [stage.stage for stage in plan.stages if not stage.is_cached]


def test_a_plan_of_what_was_done_runs_nothing(
    first: LoopResult, small_project: ProjectConfig
) -> None:
    """Every stage is found under its own key, the record of the round included."""
    plan = planned(small_project)

    assert would_run(plan) == []
    assert plan.stages[-1].artifact == first.rounds[0].record


def test_a_plan_of_another_label_share_runs_what_depends_on_labels(
    first: LoopResult, small_project: ProjectConfig
) -> None:
    """Labels, relabel, fine-tuning, evaluation, report and record; nothing else."""
    del first
    label = small_project.iteration.label.model_copy(update={"positive_share": 0.43})

    plan = planned(with_iteration(small_project, label=label))

    assert would_run(plan) == [
        "label", "relabel", "train_policy", "evaluate", "report", "record_iteration",
    ]  # fmt: skip


def test_a_refreshed_stage_executes_and_an_equal_result_changes_nothing(
    first: LoopResult, small_project: ProjectConfig
) -> None:
    """Labels are made again once, byte by byte as before, so all that follows stays cached."""
    assert would_run(planned(small_project, "label"))[0] == "label"
    began = datetime.now(UTC)

    again = recap_loop(saved(small_project), rounds=1, refresh=("label",))

    assert again == first
    states = task_states(began, NUM_TASKS)
    assert {name for name, state in states.items() if state != "Cached"} == {"label-round-1"}
