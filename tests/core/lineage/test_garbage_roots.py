"""What garbage collection keeps although no ref and no round says so."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lineage_toys import PROJECT as TOYS
from lineage_toys import STATS, ToyConfig, make_report, make_round, make_stats, writes

from recap_core.config.presets import tiny_project
from recap_core.config.retention import RetentionConfig
from recap_core.errors import ArtifactError, ArtifactNotFoundError, ConfigError
from recap_core.lineage.artifacts import Artifact, Evaluation, PolicyCheckpoint
from recap_core.lineage.garbage import GarbageCollector
from recap_core.lineage.iterations import iteration_records
from recap_core.lineage.keys import Stage
from recap_core.lineage.layout import MANIFEST_FILE, Layout
from recap_core.lineage.project_files import save_project
from recap_core.lineage.refs import Refs
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Build, Built, Store
from recap_core.lineage.transfer import export_directory, import_bundle
from recap_core.lineage.waiting import Waiting, note_waiting
from tests.generated_store import PROJECT, GeneratedStore

STRICT = RetentionConfig(
    recent_hours=0, unused_days=0, work_days=0, corrupt_days=0, cache_days=0, originals=False
)


def _reasons(store: Store, config: RetentionConfig = STRICT) -> dict[str, str]:
    """Why what is left was kept, by name, after collecting."""
    collector = GarbageCollector(store.home, config)
    plan = collector.plan()
    collector.carry_out(plan)
    return {kept.manifest.name: kept.reason for kept in plan.keep}


def _policy(store: Store, name: str, **inputs: Artifact) -> PolicyCheckpoint:
    def build(area: Build) -> Built:
        (area.output / "params").write_text(name)
        return Built({"num_steps": 1, "num_params": 1})

    stage = Stage("toy_policy", 1, PolicyCheckpoint)
    return store.produce(stage, ToyConfig(text=name), inputs, name=name, build=build)


def _evaluation(store: Store, policy: PolicyCheckpoint) -> Evaluation:
    def build(area: Build) -> Built:
        (area.output / "episodes.json").write_text(policy.id)
        details = {
            "num_episodes": 4, "num_successes": 3, "success_low": 0.3, "success_high": 0.9,
            "successes_per_1000_frames": 1.0,
        }  # fmt: skip
        return Built(details)

    stage, name = Stage("toy_evaluation", 1, Evaluation), f"of-{policy.name}"
    return store.produce(stage, ToyConfig(), {"policy": policy}, name=name, build=build)


def test_the_ref_of_a_part_that_went_before_goes_too(store: Store) -> None:
    """A collection was killed between the two; other refs to what is gone are left to people."""
    gone = make_stats(store, "gone")
    make_round(store, 1, relabeled=gone, policy=_policy(store, "policy"))
    store.remove(gone)
    refs = Refs(Layout(store.home))
    for name in ("round-1-relabeled", "mine"):
        refs.set(f"{TOYS}/{name}", gone.id)

    _reasons(store)

    assert set(store.refs()) == {f"{TOYS}/mine"}
    with pytest.raises(ArtifactNotFoundError, match="was removed on"):
        store.get_ref(f"{TOYS}/mine")


@pytest.mark.parametrize("form", ["{id}", "{id:.8}", "{name}-{id:.8}"])
def test_what_settings_name_stays(store: Store, form: str) -> None:
    """With what it was made from, by whatever form of its name ``bootstrap.start`` takes."""
    data = make_stats(store, "data")
    policy = _policy(store, "base", data=data)
    _policy(store, "other")
    config = tiny_project(cameras=False)
    start = form.format(id=policy.id, name=policy.name)
    bootstrap = config.bootstrap.model_copy(update={"start": start})
    save_project(store.home, config.model_copy(update={"bootstrap": bootstrap}))

    reasons = _reasons(store)

    owner = f"{config.project}/{config.robot}"
    assert reasons["base"] == f"the settings of {owner} name it"
    assert set(reasons) == {"base", "stats"}
    store.verify(data)


def test_what_is_served_by_its_id_stays_as_long_as_it_is(store: Store) -> None:
    """Also what it served before, and what began to be served after the plan was made."""
    served, later = _policy(store, "served"), _policy(store, "later")
    _policy(store, "other")
    with store.service() as service:
        service.add(served.id)
        collector = GarbageCollector(store.home, STRICT)
        plan = collector.plan()
        assert {item.manifest.name for item in plan.remove} == {"later", "other"}
        service.add(later.id)

        done = collector.carry_out(plan)

        assert {item.manifest.name for item in done.removed} == {"other"}
        store.verify(served)
        assert f"pid {os.getpid()}" in _reasons(store)["later"]
    assert _reasons(store) == {}


def test_what_somebody_named_lately_stays_whatever_round_it_is_of(store: Store) -> None:
    """A policy of an older round that is deployed by its name; 14 days, then it may go."""
    old, used = _policy(store, "old"), _policy(store, "used")
    for k, policy in ((1, old), (2, used), (3, _policy(store, "newest"))):
        make_round(store, k, policy=policy)
    config = RetentionConfig(keep_rounds=1, recent_hours=0, older_policies="promoted")
    store.use(used)

    reasons = _reasons(store, config)

    assert reasons["used"] == "used within 14 days, by its name"
    assert "old" not in reasons
    (note,) = (store.home / "uses").iterdir()
    long_ago = datetime.now(UTC) - timedelta(days=15)
    os.utime(note, (long_ago.timestamp(), long_ago.timestamp()))
    assert "used" not in _reasons(store, config)
    assert not list((store.home / "uses").iterdir())


def test_the_use_of_a_removed_artifact_is_an_error(store: Store) -> None:
    """So nobody works with something that he has just seen."""
    policy = _policy(store, "gone")
    store.remove(policy)
    with pytest.raises(ArtifactNotFoundError, match="was removed on"):
        store.use(policy)


def test_a_store_that_may_only_be_read_can_be_served_from(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can note anything in it; that is said."""
    policy = _policy(store, "served")
    (store.home / "locks").rmdir()
    (store.home / "locks").write_text("where nothing can be made")  # root may write anywhere else
    with store.service() as service:
        service.add(policy.id)
    assert "others may remove what is served" in caplog.text


def test_what_a_bundle_would_have_brought_is_noted_as_used(store: Store, memory: Path) -> None:
    """It was there already, and about to go."""
    data = make_stats(store, "data")
    policy = _policy(store, "known", data=data)
    _policy(store, "other")
    bundle = memory / "bundle"
    export_directory(Snapshot(store), [policy], bundle, with_ancestors=True)
    shutil.rmtree(store.home / "uses")
    collector = GarbageCollector(store.home, STRICT)
    plan = collector.plan()
    assert {item.manifest.name for item in plan.remove} == {"known", "stats", "other"}

    assert not import_bundle(bundle, store).new
    done = collector.carry_out(plan)

    assert {item.manifest.name for item in done.removed} == {"other"}
    assert "used" in _reasons(store, STRICT.model_copy(update={"unused_days": 14}))["known"]


def test_settings_that_cannot_be_read_stop_it(store: Store) -> None:
    """They may name anything."""
    make_stats(store)
    (store.home / "projects" / "p").mkdir(parents=True)
    (store.home / "projects" / "p" / "r.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"r\.yaml is not YAML"):
        GarbageCollector(store.home, STRICT).plan()


def test_what_a_waiting_run_waits_for_stays(store: Store) -> None:
    """A policy whose approval a suspended run waits for, weeks later."""
    policy = _policy(store, "candidate")
    since = datetime.now(UTC) - timedelta(days=60)
    note = Waiting(
        run="0" * 8, run_name="calm-otter", waits_for="approval", project="p/r", policy=policy.id,
        since=since, until=since + timedelta(days=90),
    )  # fmt: skip
    note_waiting(store.home, note)
    assert _reasons(store) == {"candidate": "run calm-otter waits for a word on it"}


def test_a_rollback_stays_possible(store: Store) -> None:
    """What ``current`` was before is kept, even where ``current`` itself was removed."""
    for name in ("first", "second"):
        store.set_ref("p/r/current", _policy(store, name))
        store.set_ref("gone/r/current", _policy(store, f"gone-{name}"))
    store.remove_ref("gone/r/current")

    assert set(_reasons(store)) == {"first", "second", "gone-first", "gone-second"}


def test_what_judges_a_candidate_stays(store: Store) -> None:
    """Where evaluations that nothing needs may go: a promotion needs this one."""
    candidate, other = _policy(store, "candidate"), _policy(store, "other")
    store.set_ref("p/r/candidate", candidate)
    _evaluation(store, candidate)
    _evaluation(store, other)
    assert set(_reasons(store)) == {"candidate", "of-candidate"}


def test_what_came_from_another_store_stays(memory: Path, store: Store) -> None:
    """An import by bundle whose origin is not here; one whose origin was removed here may go."""
    there = Store(memory / "there")
    policy = _policy(there, "brought", data=make_stats(there, "data"))
    export_directory(Snapshot(there), [policy], memory / "bundle")
    import_bundle(memory / "bundle", store)
    mine = make_stats(store, "mine")
    _policy(store, "own", data=mine)
    store.remove(mine)

    reasons = _reasons(store, STRICT.model_copy(update={"originals": True}))
    assert reasons == {"brought": "what it was made from never was in this store"}


def test_an_artifact_that_cannot_be_read_stops_it(store: Store) -> None:
    """Nobody knows what it needs; a newer version of recap may have written it."""
    data = make_stats(store, "data")
    path = store.path(make_report(store, "newer", stats=data)) / MANIFEST_FILE
    text = path.read_text()
    path.chmod(0o644)
    path.write_text(text.replace('"schema_version": 1', '"schema_version": 9'))

    with pytest.raises(ArtifactError, match=r"newer-.* needs is not known.*Update recap"):
        GarbageCollector(store.home, STRICT).plan()
    store.verify(data)


def test_damaged_originals_are_not_thrown_away(store: Store) -> None:
    """A recording with one wrong bit is better than none."""
    for name in ("recordings-round-1-0123abcd-20260101", "datasets-x-0123abcd-20260101"):
        path = store.home / "artifacts" / ".corrupt" / name
        path.mkdir(parents=True)
        (path / "file").write_text("12345")
    originals = STRICT.model_copy(update={"originals": True})

    kept = GarbageCollector(store.home, originals).plan().leftovers
    assert [item.path.name for item in kept] == ["datasets-x-0123abcd-20260101"]
    assert len(GarbageCollector(store.home, STRICT).plan().leftovers) == 2


def test_a_report_does_not_hold_the_rounds_before(finished_rounds: GeneratedStore) -> None:
    """It names the record of the round before, and that names every part."""
    config = RetentionConfig(recent_hours=0, keep_rounds=1)
    plan = GarbageCollector(finished_rounds.store.home, config).plan()
    first, second, _ = iteration_records(finished_rounds.store, PROJECT)
    going = {item.manifest.id for item in plan.remove}

    assert {first.id("merged"), first.id("copy")} <= going
    assert not going & {first.artifact.id, second.artifact.id}


def test_a_ref_stays_with_what_is_spared(finished_rounds: GeneratedStore, tmp_path: Path) -> None:
    """``round-1-relabeled`` goes with its dataset alone."""
    home = tmp_path / "home"
    shutil.copytree(finished_rounds.store.home, home)
    store = Store(home)
    collector = GarbageCollector(home, RetentionConfig(recent_hours=0, keep_rounds=1))
    plan = collector.plan()
    ref = next(ref for ref in plan.retire if ref.endswith("/round-1-relabeled"))
    entry = home / "index" / "stage-key" / store.manifest(store.get(ref)).stage_key
    os.utime(entry)  # somebody asks for it

    collector.carry_out(plan)
    found = store.get_ref(ref)
    assert found is not None
    store.verify(found)


def test_made_again_under_another_name_it_is_no_longer_removed(store: Store) -> None:
    """The id is the same, whatever it is called."""
    first = make_stats(store, "text")
    store.remove(first)
    again = store.produce(STATS, ToyConfig(text="text"), {}, name="anew", build=writes("text"))
    assert (again.id, again.name) == (first.id, "anew")
    assert store.removed() == []
