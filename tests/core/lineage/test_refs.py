"""Refs: moving names, their history, and rolling back."""

import threading

import pytest
from lineage_toys import make_stats

from recap_core.errors import ArtifactError, ArtifactNotFoundError, RefMovedError
from recap_core.lineage.artifacts import NormStats
from recap_core.lineage.store import Store

REF = "demo/aloha/current"


def test_a_ref_points_to_what_it_was_set_to(store: Store) -> None:
    """``get_ref`` and ``get`` agree; an unknown ref is None to one and an error to the other."""
    artifact = make_stats(store)
    assert store.get_ref(REF) is None
    assert store.ref_history(REF) == []

    store.set_ref(REF, artifact)

    assert store.get_ref(REF) == store.get(REF) == artifact
    assert store.refs() == {REF: artifact.id}
    with pytest.raises(ArtifactNotFoundError, match=rf"no ref 'demo/aloha/best'.*known: {REF}"):
        store.get("demo/aloha/best")


def test_a_ref_that_was_moved_meanwhile_stays(store: Store) -> None:
    """Whoever has seen another artifact there is told who moved it, also to the same one."""
    a, b, c = (make_stats(store, text) for text in "abc")
    store.set_ref(REF, a, instead_of={None})
    store.set_ref(REF, b, by="ana")

    with pytest.raises(RefMovedError, match=rf"{REF}' points to {b.id[:8]} since .*by ana"):
        store.set_ref(REF, c, instead_of={a.id, None})
    with pytest.raises(RefMovedError, match=b.id[:8]):
        store.set_ref(REF, b, instead_of={a.id})
    assert store.get_ref(REF) == b
    store.set_ref(REF, c, instead_of={b.id})
    assert [change.id for change in store.ref_history(REF)] == [a.id, b.id, c.id]
    with pytest.raises(RefMovedError, match="does not exist"):
        store.set_ref("demo/aloha/other", a, instead_of={b.id})


def test_rolling_back_is_one_more_move(store: Store) -> None:
    """The history tells of both moves forward and of the one back; setting the same is none."""
    a, b = make_stats(store, "a"), make_stats(store, "b")
    for artifact in (a, b, b, a):
        store.set_ref(REF, artifact)

    history = store.ref_history(REF)

    assert [(change.previous, change.id) for change in history] == [
        (None, a.id),
        (a.id, b.id),
        (b.id, a.id),
    ]
    assert history[0].at < history[1].at < history[2].at
    assert store.get_ref(REF) == a


@pytest.mark.parametrize(
    "ref",
    [
        "current",
        "a/b",
        "a/b/c/d",
        "../../x",
        "a/../c",
        "a/.b/c",
        "A/b/c",
        "a//c",
        "a/b/" + 65 * "c",
    ],
)
def test_a_ref_cannot_leave_its_place(store: Store, ref: str) -> None:
    """Three parts, each a plain lower-case name."""
    artifact = make_stats(store)
    with pytest.raises(ArtifactError, match=r"no ref|no valid part"):
        store.set_ref(ref, artifact)
    with pytest.raises(ArtifactError, match=r"no ref|no valid part"):
        store.get_ref(ref)


def test_a_ref_to_a_foreign_artifact_is_refused(store: Store) -> None:
    """The artifact must be in this store."""
    foreign = NormStats(id="0" * 32, name="x", digest="0", num_frames=1)
    with pytest.raises(ArtifactNotFoundError, match=r"norm_stats x-00000000 is not in"):
        store.set_ref(REF, foreign)


def test_a_damaged_history_is_named(store: Store) -> None:
    """With the file to repair or remove."""
    store.set_ref(REF, make_stats(store))
    path = store.home / "refs/demo/aloha/.history/current.jsonl"
    path.write_text("{\n")

    with pytest.raises(ArtifactError, match=r"history of ref.*current\.jsonl"):
        store.ref_history(REF)


def test_threads_move_a_ref_one_after_the_other(store: Store) -> None:
    """Every move is in the history, and each starts where the one before it ended."""
    artifacts = [make_stats(store, str(i)) for i in range(6)]
    threads = [threading.Thread(target=store.set_ref, args=(REF, a)) for a in artifacts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    history = store.ref_history(REF)
    assert {change.id for change in history} == {artifact.id for artifact in artifacts}
    assert [c.previous for c in history] == [None, *(c.id for c in history[:-1])]


def test_a_removed_ref_keeps_its_history(store: Store) -> None:
    """Asking for it says when it went and what it pointed to; it can be set again."""
    artifact = make_stats(store)
    store.set_ref(REF, artifact)
    store.remove_ref(REF)
    store.remove_ref(REF)

    assert store.get_ref(REF) is None
    assert [(c.id, c.previous) for c in store.ref_history(REF)] == [
        (artifact.id, None), ("", artifact.id)
    ]  # fmt: skip
    with pytest.raises(ArtifactNotFoundError, match=rf"was removed on .*: {artifact.id[:8]}"):
        store.get(REF)
    store.set_ref(REF, artifact)
    assert len(store.ref_history(REF)) == 3


def test_an_unknown_ref_is_compared_with_those_that_are_most_like_it(store: Store) -> None:
    """Not with every one of a store of many rounds."""
    artifact = make_stats(store)
    for k in range(12):
        store.set_ref(f"demo/aloha/round-{k}", artifact)

    with pytest.raises(ArtifactNotFoundError, match=r"known: demo/aloha/round-.* and 4 more$"):
        store.get("demo/aloha/round-99")
