"""Looking artifacts up, the index behind it, and removing them."""

import shutil
from dataclasses import replace

import pytest
from lineage_toys import (
    REPORT,
    STATS,
    ToyConfig,
    copies,
    damage,
    left_over,
    make_report,
    make_stats,
)

from recap_core.errors import (
    ArtifactError,
    ArtifactNotFoundError,
    StageLockedError,
)
from recap_core.lineage import artifacts as kinds
from recap_core.lineage.locks import claim
from recap_core.lineage.store import Build, Built, Store


def test_an_artifact_goes_by_many_names(store: Store) -> None:
    """Id, prefix of 6 or more digits, directory name."""
    artifact = make_stats(store)
    make_report(store)

    for reference in (artifact.id, artifact.id[:6], artifact.id[:20], f"stats-{artifact.id[:8]}"):
        assert store.get(reference) == artifact


@pytest.mark.parametrize("reference", ["abc", "stats", "0" * 32, "nothing-00000000", ""])
def test_an_unknown_reference_is_an_error(store: Store, reference: str) -> None:
    """Too short, incomplete, or simply not there."""
    make_stats(store)
    with pytest.raises(ArtifactNotFoundError, match="no artifact"):
        store.get(reference)


def test_an_ambiguous_reference_lists_what_it_fits(store: Store) -> None:
    """Two artifacts of different types whose ids share their first 8 digits."""
    artifact = make_stats(store)
    shutil.copytree(store.path(artifact), store.home / f"artifacts/reports/x-{artifact.id[:8]}")

    with pytest.raises(ArtifactError, match=r"fits 2 artifacts \(norm-stats/stats-.*reports/x-"):
        store.get(artifact.id)


def test_a_missing_index_is_rebuilt(store: Store) -> None:
    """From the manifests; the newest artifact of a key wins, unreadable ones are left out."""
    artifact = make_stats(store)
    shutil.rmtree(store.home / "index")
    (store.home / "artifacts" / "reports" / "odd-00000000").mkdir(parents=True)

    assert store.find(STATS, ToyConfig(text="hello"), {}) == artifact
    assert [path.read_text() for path in (store.home / "index/stage-key").iterdir()] == [
        f"norm-stats/stats-{artifact.id[:8]}\n"
    ]
    store.rebuild_index()
    assert left_over(store) == []


@pytest.mark.parametrize(
    "entry", ["", "../..", "norm-stats", "norm-stats/gone-00000000", ".corrupt/a-00000000"]
)
def test_a_wrong_index_entry_is_no_artifact(store: Store, entry: str) -> None:
    """It neither finds nor moves anything; the next build writes it right."""
    artifact = make_stats(store)
    [path] = (store.home / "index" / "stage-key").iterdir()
    path.write_text(entry)

    assert store.find(STATS, ToyConfig(text="hello"), {}) is None
    assert make_stats(store) == artifact
    assert store.find(STATS, ToyConfig(text="hello"), {}) == artifact


def test_an_index_entry_of_another_key_is_no_hit(store: Store) -> None:
    """The manifest has the last word."""
    a, b = make_stats(store, "a"), make_stats(store, "b")
    entry = store.home / "index" / "stage-key" / store.manifest(a).stage_key
    entry.write_text(f"norm-stats/stats-{b.id[:8]}\n")

    assert store.find(STATS, ToyConfig(text="a"), {}) is None


def test_a_damaged_artifact_without_index_entry_is_replaced(store: Store) -> None:
    """The new one takes its place, the damaged one goes aside."""
    artifact = make_stats(store)
    damage(store.path(artifact), "added")
    [entry] = (store.home / "index" / "stage-key").iterdir()
    entry.unlink()

    assert make_stats(store) == artifact
    store.verify(artifact)


def test_two_ids_with_the_same_first_digits_are_told_apart(store: Store) -> None:
    """The second one of the same name is refused; nothing is overwritten."""
    a = make_stats(store, "a")
    b = make_stats(Store(store.home.parent / "other"), "b")
    store.path(a).chmod(0o755)
    clash = store.path(a).rename(store.path(a).parent / f"stats-{b.id[:8]}")

    with pytest.raises(ArtifactError, match="starts with the same 8 digits; choose another name"):
        make_stats(store, "b")
    assert (clash / "sub" / "a.txt").read_text() == "a"


def test_a_stage_cannot_change_its_kind_in_silence(store: Store) -> None:
    """The version must be raised, or an old result would come back as the wrong type."""
    make_stats(store)

    with pytest.raises(ArtifactError, match="produces a report but published a norm_stats"):
        store.find(replace(STATS, produces=kinds.Report), ToyConfig(text="hello"), {})


def test_a_removed_artifact_is_gone_and_can_be_made_again(store: Store) -> None:
    """Files it shares stay with the others."""
    source = make_stats(store)
    copy = store.produce(
        STATS, ToyConfig(), {"s": source}, name="copy", build=copies(store, source)
    )
    store.remove(source)

    assert [m.id for m in store.artifacts()] == [copy.id]
    assert left_over(store) == []
    store.verify(copy)
    with pytest.raises(ArtifactNotFoundError):
        store.path(source)
    assert make_stats(store) == source


def test_an_older_artifact_of_a_key_can_be_removed(store: Store) -> None:
    """The index goes on leading to the newer one."""
    numbers = iter("12")

    def build(build: Build) -> Built:
        (build.output / "x").write_text(next(numbers))
        return Built({})

    old = store.produce(REPORT, ToyConfig(), {}, name="r", build=build)
    shutil.rmtree(store.home / "index" / "stage-key")
    (store.home / "index" / "stage-key").mkdir()
    new = store.produce(REPORT, ToyConfig(), {}, name="r", build=build)

    store.remove(old)

    assert store.find(REPORT, ToyConfig(), {}) == new


def test_what_a_ref_points_to_is_kept(store: Store) -> None:
    """The ref is named."""
    artifact = make_stats(store)
    store.set_ref("demo/aloha/current", artifact)

    with pytest.raises(ArtifactError, match="is what demo/aloha/current points to"):
        store.remove(artifact)


def test_an_artifact_that_is_being_rebuilt_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removal waits for the key's lock, and gives up."""
    monkeypatch.setattr("recap_core.lineage.removal.REMOVE_TIMEOUT_S", 0.01)
    artifact = make_stats(store)
    lock = store.home / "locks" / store.manifest(artifact).stage_key

    with (
        claim(lock, timeout_s=0, subject="x"),
        pytest.raises(StageLockedError, match="stage key"),
    ):
        store.remove(artifact)
