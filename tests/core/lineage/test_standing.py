"""A round's promotion against later rounds, people's words, and what is in use by now."""

from pathlib import Path

import pytest

from recap_core.config.gate import GateConfig, GateDecision
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.decisions import promote, reject, rollback
from recap_core.lineage.iterations import iteration_records
from recap_core.lineage.standing import Standing, held_back, recorded_decision, standing
from recap_core.lineage.store import Store
from tests.judged_policies import PROJECT, make_evaluation, make_policy, make_round

PASSED = GateDecision(verdict="promoted", reasons=("It is 12 points better.",))


@pytest.fixture
def home(tmp_path: Path) -> Store:
    """Rounds 1 to 3 are finished, each promoted by itself; ``sft`` was there before."""
    store = Store(tmp_path / "home")
    store.set_ref(f"{PROJECT}/current", make_policy(store, "sft"))
    for k in (1, 2, 3):
        policy = make_policy(store, f"round-{k}")
        store.set_ref(f"{PROJECT}/current", policy)
        store.set_ref(f"{PROJECT}/round-{k}-policy", policy)
        store.set_ref(f"{PROJECT}/round-{k}", make_round(store, k, policy, PASSED))
    return store


def at_the_end(
    store: Store, round_index: int, policy: PolicyCheckpoint, *, last_round: int | None = None
) -> Standing:
    """Of a round that the policy of the round before collected for."""
    before = make_policy(store, f"round-{round_index - 1}" if round_index > 1 else "sft")
    return standing(store, PROJECT, round_index, policy, compared=before, last_round=last_round)


def decided(
    store: Store, round_index: int, policy: PolicyCheckpoint, *, last_round: int | None = None
) -> GateDecision:
    """What becomes of a policy that passed the gate."""
    at = at_the_end(store, round_index, policy, last_round=last_round)
    return held_back(PASSED, policy, at)


def test_an_earlier_round_made_anew_promotes_nothing(home: Store) -> None:
    """The reason names the rounds after it, what was compared, what is in use, and the command."""
    anew = make_policy(home, "anew")

    decision = decided(home, 1, anew)

    assert decision.verdict == "candidate"
    ids = {name: make_policy(home, name).id[:8] for name in ("anew", "sft", "round-3")}
    assert decision.reasons[0] == (
        "Round 1 was made anew after rounds 2 and 3 were finished: it was compared with "
        f"sft-{ids['sft']}, not with round-3-{ids['round-3']}. Put it in use with: recap promote "
        f"anew-{ids['anew']} --project {PROJECT} (it compares the two and asks)."
    )
    assert decision.reasons[1:] == PASSED.reasons
    assert "after round 3 was finished" in decided(home, 2, anew).reasons[0]


def test_the_next_round_is_promoted_as_the_gate_says(home: Store) -> None:
    """It was compared with what is in use; and what is in use already stays what it is."""
    assert decided(home, 4, make_policy(home, "new")) == PASSED
    assert decided(home, 3, make_policy(home, "round-3")) == PASSED
    kept = GateDecision(verdict="kept")
    assert held_back(kept, make_policy(home, "new"), at_the_end(home, 1, make_policy(home, "new")))
    first = standing(
        home, "other/arm", 1, make_policy(home, "new"), compared=make_policy(home, "sft")
    )
    assert held_back(PASSED, make_policy(home, "new"), first) == PASSED  # nothing is in use


def test_what_a_person_put_in_use_meanwhile_stays(home: Store) -> None:
    """Also after a roll back: the gate has compared the new policy with neither."""
    new = make_policy(home, "new")
    promote(home, PROJECT, make_policy(home, "by-hand"), by="ana")

    decision = decided(home, 4, new)

    assert decision.verdict == "candidate"
    assert "by-hand-" in decision.reasons[0]
    rollback(home, PROJECT, by="ana")
    assert decided(home, 4, new) == PASSED  # what it was compared with is back
    rollback(home, PROJECT, by="ana")
    assert decided(home, 4, new).verdict == "candidate"


def test_the_last_round_made_anew_does_not_replace_what_it_made_before(home: Store) -> None:
    """It was compared with the policy before both."""
    assert decided(home, 3, make_policy(home, "anew")).verdict == "candidate"


@pytest.mark.parametrize("word", ["rolled back", "rejected"])
def test_what_a_person_turned_down_is_put_in_use_by_people_only(home: Store, word: str) -> None:
    """A round that ends again with the same policy does not overrule them."""
    policy = make_policy(home, "round-3")
    rollback(home, PROJECT, by="ana", note="drops it")
    if word == "rejected":
        reject(home, PROJECT, policy, by="ana", note="drops it")

    decision = decided(home, 3, policy)

    assert decision.verdict == "candidate"
    assert decision.reasons[0].startswith(f"{word.capitalize()} by ana on ")


def test_a_loop_replaces_the_rounds_that_it_makes_anew(home: Store) -> None:
    """But no round beyond its last, and nothing that a person has put in use."""
    anew = make_policy(home, "anew")
    assert decided(home, 1, anew, last_round=3) == PASSED
    assert decided(home, 1, anew, last_round=2).verdict == "candidate"

    promote(home, PROJECT, make_policy(home, "round-2"), by="ana")

    assert decided(home, 1, anew, last_round=3).verdict == "candidate"


def test_a_round_that_is_looked_up_keeps_its_decision(home: Store) -> None:
    """Same parts, same rule; its report does not count, and other settings do not either."""
    record = iteration_records(home)[0]
    policy = make_policy(home, "round-1")
    page = make_policy(home, "shown")

    def recorded(gate: GateConfig, **parts: PolicyCheckpoint) -> GateDecision | None:
        return recorded_decision(record, parts, gate, store=home)

    assert recorded(GateConfig(), policy=policy, report=page) == PASSED
    assert recorded(GateConfig(rule="always"), policy=policy) is None
    assert recorded(GateConfig(), policy=page) is None
    evaluation = make_evaluation(home, policy, [1])
    assert recorded_decision(record, {"policy": policy, "after": evaluation}, GateConfig(),
                             store=home) is None  # fmt: skip
