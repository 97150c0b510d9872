"""Promoting, rejecting and rolling back: refs that remember who and why."""

import json
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from recap_core.errors import ArtifactError, ArtifactNotFoundError, RefMovedError
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.decisions import (
    decision_on,
    promote,
    promote_unless_turned_down,
    reject,
    rollback,
)
from recap_core.lineage.store import Store
from tests.judged_policies import PROJECT, make_policy


@pytest.fixture
def home(memory: Path) -> Store:
    return Store(memory / "home")


@pytest.fixture
def policies(home: Store) -> list[PolicyCheckpoint]:
    """Three that were current one after the other."""
    made = [make_policy(home, name) for name in "abc"]
    for policy in made:
        promote(home, PROJECT, policy, by="ana", note=f"likes {policy.name}")
    return made


def current(store: Store) -> str:
    found = store.get_ref(f"{PROJECT}/current")
    assert found is not None
    return found.name


def test_a_decision_is_remembered(home: Store, policies: list[PolicyCheckpoint]) -> None:
    """Who, when and why; one that nobody decided on has none."""
    reject(home, PROJECT, policies[0], by="bo", note="drops it")

    word = decision_on(home, PROJECT, policies[0])
    assert word is not None
    assert (word.word, word.by, word.note) == ("rejected", "bo", "drops it")
    assert word.sentence().startswith("Rejected by bo on 20")
    assert word.sentence().endswith('UTC: "drops it".')
    assert decision_on(home, PROJECT, make_policy(home, "new")) is None
    with pytest.raises(ArtifactError, match="roll back first"):
        reject(home, PROJECT, policies[2], by="bo")


def test_rolling_back_goes_back_step_by_step(home: Store, policies: list[PolicyCheckpoint]) -> None:
    """c, then b, then a; before a there was nothing."""
    assert rollback(home, PROJECT, by="bo") == (policies[2], policies[1])
    rollback(home, PROJECT, by="bo")
    assert current(home) == "a"

    with pytest.raises(ArtifactNotFoundError, match="--to"):
        rollback(home, PROJECT, by="bo")


def test_a_policy_that_was_rolled_back_from_is_promoted_no_more(
    home: Store, policies: list[PolicyCheckpoint]
) -> None:
    """So a run that waits for its approval does not put it back in use."""
    rollback(home, PROJECT, by="bo", note="drops it")

    word = decision_on(home, PROJECT, policies[2])
    assert word is not None
    assert (word.word, word.by, word.note) == ("rolled back", "bo", "drops it")
    assert word.sentence().startswith("Rolled back by bo on 20")


def test_a_promotion_after_a_rollback_is_undone_to_where_it_began(
    home: Store, policies: list[PolicyCheckpoint]
) -> None:
    """Back from c to b, then a promoted: a roll back leads to b, or to any policy that is named."""
    rollback(home, PROJECT, by="bo")
    promote(home, PROJECT, policies[0], by="bo")

    rollback(home, PROJECT, by="bo")
    assert current(home) == "b"
    rollback(home, PROJECT, to=policies[2], by="bo")
    assert current(home) == "c"


def test_a_promotion_replaces_only_what_was_compared(
    home: Store, policies: list[PolicyCheckpoint]
) -> None:
    """Somebody else has promoted meanwhile: nothing moves, and nothing is remembered of it."""
    new = make_policy(home, "new")
    with pytest.raises(RefMovedError, match=r"current' points to .* \(moved by ana\)"):
        promote(home, PROJECT, new, by="bo", instead_of={policies[0].id})

    assert current(home) == "c"
    assert decision_on(home, PROJECT, new) is None
    promote(home, PROJECT, new, by="bo", instead_of={policies[2].id})
    assert current(home) == "new"


def test_roll_backs_and_promotions_at_once_each_undo_what_they_have_seen(
    home: Store, policies: list[PolicyCheckpoint]
) -> None:
    """Two threads; every roll back that came through left the policy that it says it left."""
    start, undone = threading.Barrier(2), list[tuple[str, str]]()

    def roll_back() -> None:
        own = Store(home.home)
        start.wait()
        for attempt in count():
            if attempt >= 20 and undone:
                return
            with suppress(RefMovedError, ArtifactNotFoundError):
                now, before = rollback(own, PROJECT, by="bo")
                undone.append((now.id, before.id))

    def promote_all() -> None:
        own = Store(home.home)
        start.wait()
        for i in range(20):
            promote(own, PROJECT, policies[i % 3], by="ana")

    threads = [threading.Thread(target=work) for work in (roll_back, promote_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    moves = home.ref_history(f"{PROJECT}/current")
    backward = [(move.previous, move.id) for move in moves if move.is_rollback]
    assert backward
    assert undone == backward


def test_a_rejection_is_said_anew_after_a_promotion(
    home: Store, policies: list[PolicyCheckpoint]
) -> None:
    """Rejected, put in use after all, replaced: rejecting it again is the last word again."""
    new = make_policy(home, "new")
    reject(home, PROJECT, new, by="bo")
    promote(home, PROJECT, new, by="ana")
    promote(home, PROJECT, policies[0], by="ana")
    reject(home, PROJECT, new, by="bo", note="it shakes")

    word = decision_on(home, PROJECT, new)
    assert word is not None
    assert (word.word, word.note) == ("rejected", "it shakes")


def test_a_round_and_a_person_see_each_other(home: Store) -> None:
    """Two threads, a gate that promotes and a person who rejects: one of them comes too late."""
    for i in range(20):
        policy, start = make_policy(home, f"new-{i}"), threading.Barrier(2)
        before = home.get_ref(f"{PROJECT}/current")
        refused: list[ArtifactError] = []

        def turn_down(
            policy: PolicyCheckpoint = policy,
            start: threading.Barrier = start,
            refused: list[ArtifactError] = refused,
        ) -> None:
            start.wait()
            try:
                reject(Store(home.home), PROJECT, policy, by="bo")
            except ArtifactError as error:
                refused.append(error)

        person = threading.Thread(target=turn_down)
        person.start()
        start.wait()
        is_in_use = promote_unless_turned_down(
            home, PROJECT, policy, instead_of={before.id if before else None}
        )
        person.join()
        assert is_in_use == bool(refused)
        assert is_in_use == (home.get_ref(f"{PROJECT}/current") == policy)


def test_a_history_without_names_is_read(home: Store, policies: list[PolicyCheckpoint]) -> None:
    """As versions before this one wrote it; lines of flows still look like that."""
    path = home.home / "refs" / "demo" / "sim-aloha" / ".history" / "current.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    old = [{key: line[key] for key in ("id", "previous", "at")} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))

    history = home.ref_history(f"{PROJECT}/current")
    home.set_ref(f"{PROJECT}/current", policies[0])

    assert [change.by for change in history] == [None] * 3
    assert set(json.loads(path.read_text().splitlines()[-1])) == {"id", "previous", "at"}
