"""Garbage collection: what stays, what goes, what that frees, and that nobody is hurt by it."""

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kill_drill import kill_drill
from lineage_toys import ToyConfig, copies, make_report, make_stats, writes

from recap_core.config.retention import RetentionConfig
from recap_core.errors import ArtifactError, ArtifactNotFoundError, StageLockedError
from recap_core.lineage.ancestry import explain
from recap_core.lineage.artifacts import Artifact, NormStats
from recap_core.lineage.garbage import GarbageCollector, Plan
from recap_core.lineage.iterations import iteration_records
from recap_core.lineage.keys import Stage
from recap_core.lineage.layout import Layout
from recap_core.lineage.links import link_tree
from recap_core.lineage.locks import claim
from recap_core.lineage.store import Build, Built, Store
from tests.generated_store import GeneratedStore

AT_ONCE = RetentionConfig(recent_hours=0, unused_days=0, work_days=0, corrupt_days=0, cache_days=0)
COPY = Stage("toy_copy", 1, NormStats)


def _collector(store: Store, config: RetentionConfig = AT_ONCE, **options: object) -> Plan:
    return GarbageCollector(store.home, config, **options).plan()  # pyright: ignore[reportArgumentType]


def _run(store: Store, config: RetentionConfig = AT_ONCE) -> Plan:
    collector = GarbageCollector(store.home, config)
    plan = collector.plan()
    collector.carry_out(plan)
    return plan


def _names(plan: Plan) -> set[str]:
    return {item.manifest.name for item in plan.remove}


def _used_bytes(home: Path) -> int:
    """Bytes of every file, each counted once however many names it has."""
    files = {}
    for folder, _, names in os.walk(home):
        for name in names:
            status = (Path(folder) / name).lstat()
            files[status.st_ino] = status.st_size
    return sum(files.values())


@pytest.fixture
def rounds(eight_rounds: GeneratedStore) -> Store:
    """Eight rounds of one project and one of another, to look at only."""
    return eight_rounds.store


@pytest.fixture
def own_rounds(rounds: Store, memory: Path) -> Store:
    """A copy of them to work on; hard links inside the store stay hard links."""
    import subprocess

    subprocess.run(["cp", "-a", str(rounds.home), str(memory / "own")], check=True)  # noqa: S603, S607
    return Store(memory / "own")


def test_what_no_ref_and_no_round_needs_goes(store: Store) -> None:
    """A chain whose end has a ref stays whole; what stands beside it goes."""
    used = make_stats(store, "used")
    kept = make_report(store, "kept", stats=used)
    make_report(store, "unneeded", stats=used)
    store.set_ref("p/r/mine", kept)

    assert _names(_run(store)) == {"unneeded"}
    store.verify(kept)
    store.verify(used)


def test_what_was_used_lately_stays(store: Store) -> None:
    """Two weeks for what belongs to nothing; looking it up counts as use."""
    old = make_report(store, "old")
    looked_up = make_stats(store, "text")
    for entry in (store.home / "index" / "stage-key").iterdir():
        os.utime(entry, (0, 0))
    store.find(Stage("toy_stats", 1, NormStats), ToyConfig(text="text"), {})
    policy = RetentionConfig(unused_days=14)
    plan = _collector(store, policy)
    assert not plan.remove  # both were made a moment ago

    decided = _aged(store, policy, days=15)
    assert decided == {old.name}
    assert looked_up.name not in decided


def _aged(store: Store, config: RetentionConfig, *, days: float) -> set[str]:
    """Names that would go if everything had been made that many days earlier."""
    from recap_core.lineage.retention import Facts, decide

    now = datetime.now(UTC)
    manifests = {manifest.id: manifest for manifest in store.artifacts()}
    index = store.home / "index" / "stage-key"
    used = {}
    for manifest in manifests.values():
        touched = datetime.fromtimestamp((index / manifest.stage_key).stat().st_mtime, UTC)
        used[manifest.id] = max(
            touched, datetime.fromtimestamp(now.timestamp() - days * 86400, UTC)
        )
    decision = decide(Facts(manifests, store.refs(), used, {}, now), config)
    return {manifests[id_].name for id_ in decision.remove}


def test_a_dry_run_frees_what_it_says(own_rounds: Store) -> None:
    """To the byte, although relabelled datasets share files with the copies they were made of."""
    before = _used_bytes(own_rounds.home / "artifacts")
    plan = _run(own_rounds)
    artifacts_only = sum(item.freed_bytes for item in plan.remove)
    manifests = sum((item.path / "x").parent.exists() for item in plan.remove)

    assert manifests == 0
    assert before - _used_bytes(own_rounds.home / "artifacts") == artifacts_only > 0


def test_older_rounds_keep_what_people_ask_about(own_rounds: Store) -> None:
    """Records, policies, labels, values, evaluations, reports; not what can be made again."""
    plan = _run(own_rounds, AT_ONCE.model_copy(update={"keep_rounds": 2}))
    main = iteration_records(own_rounds, "handover")
    gone = {stone.manifest.id for stone in own_rounds.removed()}
    last = [record for record in main if record.artifact.round_index >= 7]
    old = next(record for record in main if record.artifact.round_index == 1)

    assert gone == {item.manifest.id for item in plan.remove}
    assert not gone & {parent.id for record in last for parent in record.manifest.parents}
    for role in ("policy", "labels", "values", "after", "report", "recordings", "rollouts"):
        assert not gone & set(old.ids(role)), role
    for role in ("copy", "relabeled"):
        assert set(old.ids(role)) <= gone, role
    assert not gone & set(old.ids("value_model"))  # one made anew would change all that follows


def test_parts_of_older_rounds_go_however_new_they_are(rounds: Store) -> None:
    """Only what belongs to nothing waits for two weeks, and what is in use for an hour."""
    policy = RetentionConfig(recent_hours=0, keep_rounds=2)
    assert _names(_collector(rounds, policy)) >= {"round-1-merged", "round-4-copy"}
    recent = _collector(rounds, RetentionConfig(keep_rounds=2))
    assert not recent.remove
    assert not recent.retire


def test_refs_resolve_and_everything_left_verifies(own_rounds: Store) -> None:
    """With the strictest policy; refs of what went are gone with it, their history is not."""
    strict = AT_ONCE.model_copy(
        update={
            "keep_rounds": 1,
            "older_policies": "promoted",
            "older_values": False,
            "older_value_models": False,
        }
    )
    plan = _run(own_rounds, strict)

    for ref in own_rounds.refs():
        assert own_rounds.get_ref(ref) is not None
    for manifest in own_rounds.artifacts():
        own_rounds.verify(manifest.artifact())
    assert plan.retire
    for ref, id_ in plan.retire.items():
        assert own_rounds.get_ref(ref) is None
        assert [change.id for change in own_rounds.ref_history(ref)][-2:] == [id_, ""]


def test_the_last_round_is_still_cached(own_rounds: Store) -> None:
    """Every part of it, and of the round that made the current policy, is found by its key."""
    _run(own_rounds, AT_ONCE.model_copy(update={"keep_rounds": 1}))
    current = own_rounds.get_ref("handover/aloha/current")
    assert current is not None
    records = iteration_records(own_rounds, "handover")
    made_current = [r for r in records if r.id("policy") == current.id]
    for record in (records[-1], *made_current):
        for parent in record.manifest.parents:
            part = own_rounds.get(parent.id)
            key = own_rounds.manifest(part).stage_key
            entry = (own_rounds.home / "index" / "stage-key" / key).read_text().strip()
            assert own_rounds.home / "artifacts" / entry == own_rounds.path(part)


def test_only_the_projects_that_are_named_lose_anything(rounds: Store) -> None:
    """Rounds of the other project stay whole."""
    one = AT_ONCE.model_copy(update={"keep_rounds": 1})
    both = _collector(rounds, one)
    named = _collector(rounds, one, projects=["handover/aloha"])
    others = {
        parent.id
        for record in iteration_records(rounds, "pegs")
        for parent in record.manifest.parents
    }

    assert {item.manifest.id for item in named.remove} == {item.manifest.id for item in both.remove}
    assert named.remove
    assert not _collector(rounds, one, projects=["pegs/arm"]).remove
    assert not {item.manifest.id for item in named.remove} & others


def test_what_another_project_shares_stays(own_rounds: Store) -> None:
    """A dataset of an old round that another project has a ref to is kept, with its origin."""
    old = iteration_records(own_rounds, "handover")[0]
    shared = own_rounds.get(str(old.id("merged")))
    own_rounds.set_ref("pegs/arm/borrowed", shared)

    plan = _run(own_rounds, AT_ONCE.model_copy(update={"keep_rounds": 1}))

    reasons = {kept.manifest.id: kept.reason for kept in plan.keep}
    assert reasons[shared.id] == "pegs/arm/borrowed points to it"
    own_rounds.verify(shared)


def test_nothing_goes_while_something_is_built(store: Store) -> None:
    """The error names who builds; afterwards it goes."""
    make_report(store)
    with (
        claim(Layout(store.home).lock("a" * 32), timeout_s=0, subject="s"),
        pytest.raises(StageLockedError, match=rf"pid {os.getpid()}.*--dry-run"),
    ):
        _run(store)
    assert _run(store).remove


def test_the_input_of_a_build_that_began_meanwhile_stays(memory: Path) -> None:
    """Its lock file names it: found when it is moved away, so it is moved back."""
    done = kill_drill("meanwhile", memory)

    assert done == {"spared": ["wanted"], "removed": []}
    store = Store(memory)
    (wanted,) = [manifest.artifact() for manifest in store.artifacts()]
    store.verify(wanted)
    assert not store.removed()


def test_what_is_asked_for_meanwhile_stays_with_all_it_needs(store: Store) -> None:
    """Looked up between the plan and the removal."""
    origin = make_stats(store, "origin")
    result = make_report(store, "result", stats=origin)
    for entry in (store.home / "index" / "stage-key").iterdir():
        os.utime(entry, (0, 0))  # else the look-up might fall into the same tick of the clock
    collector = GarbageCollector(store.home, AT_ONCE)
    plan = collector.plan()
    assert _names(plan) == {"stats", "result"}

    make_report(store, "result", stats=origin)  # a look-up
    done = collector.carry_out(plan)

    assert {kept.manifest.name for kept in done.spared} == {"result"} | {
        kept.manifest.name for kept in done.spared if kept.manifest.id == origin.id
    }
    store.verify(result)
    store.verify(origin)


def test_a_kill_before_any_change_is_finished_by_the_next_collection(memory: Path) -> None:
    """A real SIGKILL before each change; no ref goes before what it points to. Two rounds."""
    result = kill_drill("gc", memory)

    assert result["kills"] >= 30
    assert 0 < result["new_states"] < result["kills"]


def test_a_removed_artifact_is_remembered(store: Store) -> None:
    """Its manifest stays; asking for it says when and why it went; making it again undoes that."""
    stats = make_stats(store, "text")
    manifest = store.manifest(stats)
    store.remove(stats, reason="test")

    (stone,) = store.removed()
    assert stone.manifest == manifest
    with pytest.raises(ArtifactNotFoundError, match=r"was removed on .* \(test\)"):
        store.get(stats.id[:8])
    with pytest.raises(ArtifactNotFoundError, match=r"was removed on .* \(test\)"):
        store.path(stats)
    assert make_stats(store, "text") == stats
    assert store.removed() == []


def test_an_unreadable_tombstone_is_left_out(store: Store) -> None:
    """It costs one name in the lineage, nothing else."""
    store.remove(make_stats(store, "text"))
    store.remove(make_stats(store, "other"))
    next((store.home / "removed").iterdir()).write_text("{")

    assert len(store.removed()) == 1


def test_old_work_and_caches_go(store: Store) -> None:
    """Also what was moved aside as damaged; work that somebody holds stays."""
    for path in ("work/" + "c" * 32, "work/" + "d" * 32, "cache/xla", "artifacts/.corrupt/x"):
        (store.home / path).mkdir(parents=True)
        (store.home / path / "file").write_text("12345")
    with claim(Layout(store.home).lock("d" * 32), timeout_s=0, subject="s"):
        plan = _collector(store)
    assert [item.path.name for item in plan.leftovers] == ["c" * 32, "x", "file"]
    assert plan.freed_bytes == 15
    assert not _collector(store, RetentionConfig()).leftovers

    _run(store)
    assert not (store.home / "work" / ("c" * 32)).exists()
    assert not (store.home / "cache" / "xla" / "file").exists()


def _links(store: Store, source: Artifact, name: str) -> Callable[[Build], Built]:
    """A build of hard links to ``source`` and one file of its own."""

    def build(area: Build) -> Built:
        link_tree(store.path(source), area.output, digests=store.digests)
        (area.output / name).write_text(name)
        return Built({"num_frames": 1})

    return build


@pytest.mark.parametrize("seed", range(12))
def test_random_stores_keep_what_refs_need(memory: Path, seed: int) -> None:
    """Every ancestor of what a ref points to verifies afterwards; nothing else is left."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    store = Store(memory / "random")
    made: list[Artifact] = []
    for i in range(12):
        parents = rng.sample(made, min(len(made), rng.randint(0, 3)))
        inputs = {f"in{j}": parent for j, parent in enumerate(parents)}
        if parents and rng.random() < 0.3:
            config, build = ToyConfig(text=f"{i}"), _links(store, parents[0], f"new-{i}")
            made.append(store.produce(COPY, config, inputs, name=f"a{i}", build=build))
        else:
            stage = Stage("toy_stats", 1, NormStats)
            config, build = ToyConfig(text=f"{i}"), writes(f"{i}")
            made.append(store.produce(stage, config, inputs, name=f"a{i}", build=build))
    for j, artifact in enumerate(rng.sample(made, rng.randint(0, 3))):
        store.set_ref(f"p/r/ref{j}", artifact)
    needed = set(store.refs().values())
    for artifact in reversed(made):
        if artifact.id in needed:
            needed.update(artifact.parents)
    before = _used_bytes(store.home / "artifacts")

    plan = _run(store)

    assert {manifest.id for manifest in store.artifacts()} == needed
    for manifest in store.artifacts():
        store.verify(manifest.artifact())
    assert before - _used_bytes(store.home / "artifacts") == plan.freed_bytes
    assert {stone.manifest.id for stone in store.removed()} == {a.id for a in made} - needed


def test_the_own_bytes_of_an_artifact_are_what_its_removal_frees(store: Store) -> None:
    """As lineage shows them, for one that shares all but one file."""
    source = make_stats(store, "text")
    shared = store.produce(
        COPY, ToyConfig(), {"s": source}, name="copy", build=copies(store, source)
    )
    own = explain(store, shared)["own_bytes"]
    store.set_ref("p/r/source", source)

    (item,) = _collector(store).remove
    assert item.freed_bytes == own < item.size_bytes


def test_a_ref_that_is_set_meanwhile_protects(store: Store) -> None:
    """Setting it counts as use, and what it needs is spared too."""
    origin = make_stats(store, "origin")
    result = make_report(store, "result", stats=origin)
    collector = GarbageCollector(store.home, AT_ONCE)
    plan = collector.plan()
    store.set_ref("p/r/mine", result)
    collector.carry_out(plan)
    store.verify(result)
    store.verify(origin)
    with pytest.raises(ArtifactError, match="p/r/mine"):
        store.remove(result)


def test_runs_go_on_while_garbage_is_collected_again_and_again(store: Store) -> None:
    """Chains of three stages, each made, forgotten, and made or found again a moment later."""
    soon = AT_ONCE.model_copy(update={"recent_hours": 0.2 / 3600})
    num_removed, errors, enough = 0, [], threading.Event()

    def run(seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - not for secrets
        own = Store(store.home)
        try:
            while not enough.is_set():
                text = f"{rng.randrange(4)}"
                with suppress(ArtifactNotFoundError):  # this thread slept for longer than 0.2 s
                    first = make_stats(own, text)
                    second = make_report(own, f"second-{text}", stats=first)
                    own.verify(make_report(own, f"third-{text}", report=second, stats=first))
                time.sleep(rng.random() / 20)
        except Exception as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    runs = [threading.Thread(target=run, args=(seed,)) for seed in range(2)]
    for thread in runs:
        thread.start()
    while num_removed < 30 and not errors:
        collector = GarbageCollector(store.home, soon)
        with suppress(StageLockedError):
            num_removed += len(collector.carry_out(collector.plan()).removed)
    enough.set()
    for thread in runs:
        thread.join()

    assert errors == []
    for manifest in store.artifacts():
        store.verify(manifest.artifact())
