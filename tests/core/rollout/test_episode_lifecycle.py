"""Episodes begin and end by the operator's word only."""

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_core.rollout.episode_lifecycle import (
    EpisodeLifecycle,
    EpisodeState,
    EpisodeStep,
    refusal,
    step_of,
)
from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import EpisodeSignal

IDLE, RECORDING, OVER = EpisodeState
START, SUCCESS, DISCARD, QUIT = EpisodeSignal
TABLE = {
    (IDLE, START): EpisodeStep("start"),
    (IDLE, QUIT): EpisodeStep("quit", None, ends_session=True),
    (RECORDING, START): EpisodeStep("end", Outcome.FAILURE),
    (RECORDING, SUCCESS): EpisodeStep("end", Outcome.SUCCESS),
    (RECORDING, DISCARD): EpisodeStep("end", Outcome.DISCARD),
    (RECORDING, QUIT): EpisodeStep("end", Outcome.FAILURE, ends_session=True),
}


@pytest.mark.parametrize(("state", "signal"), [*itertools.product(EpisodeState, EpisodeSignal)])
def test_the_table(state: EpisodeState, signal: EpisodeSignal) -> None:
    """Six of twelve pairs lead somewhere; the others are refused with a reason."""
    assert step_of(state, signal) == TABLE.get((state, signal))
    if (state, signal) not in TABLE:
        assert signal.value in refusal(state, signal)


@given(st.lists(st.sampled_from([*EpisodeSignal, "consume", "expire", "cancel"]), max_size=60))
def test_no_sequence_makes_a_success_by_itself(words: list[str]) -> None:
    """Starts and ends alternate, a success needs ``success``, and nothing follows the end."""
    lifecycle = EpisodeLifecycle()
    steps: list[EpisodeStep] = []
    asked: set[str] = set()
    for word in words:
        before = lifecycle.state
        if word == "consume":
            step = lifecycle.consume()
            if step is not None:
                steps.append(step)
                if step.outcome is Outcome.SUCCESS:
                    assert EpisodeSignal.SUCCESS in asked
                asked.clear()
        elif word == "expire" and before is RECORDING:
            step = lifecycle.expire()
            assert step.outcome is Outcome.FAILURE
            steps.append(step)
        elif word == "cancel" and before is RECORDING and steps[-1].kind == "start":
            lifecycle.cancel_start()
            steps.pop()
        elif word in tuple(EpisodeSignal):
            accepted = lifecycle.request(EpisodeSignal(word))
            assert accepted == ((before, word) in TABLE)
            if accepted:
                asked.add(word)
            assert lifecycle.state is before  # nothing happens before consume
    kinds = [step.kind for step in steps]
    assert all(a != b for a, b in itertools.pairwise(kinds) if "quit" not in (a, b))
    assert not any(step.ends_session for step in steps[:-1])
    assert (lifecycle.state is OVER) == bool(steps and steps[-1].ends_session)


def test_a_later_request_replaces_a_pending_one_but_never_quit() -> None:
    """One slot: the last word counts, and who wants to quit quits."""
    lifecycle = EpisodeLifecycle()
    lifecycle.request(START)
    lifecycle.consume()

    assert lifecycle.request(SUCCESS)
    assert lifecycle.request(DISCARD)
    assert lifecycle.consume() == EpisodeStep("end", Outcome.DISCARD)
    assert lifecycle.consume() is None

    lifecycle.request(START)
    lifecycle.consume()
    lifecycle.request(QUIT)
    assert lifecycle.request(SUCCESS)
    assert lifecycle.consume() == EpisodeStep("end", Outcome.FAILURE, ends_session=True)
    assert not lifecycle.request(START)


def test_time_runs_out_while_somebody_quits() -> None:
    """The episode is a failure, and the session ends."""
    lifecycle = EpisodeLifecycle()
    lifecycle.request(START)
    lifecycle.consume()
    lifecycle.request(QUIT)

    assert lifecycle.expire() == EpisodeStep("end", Outcome.FAILURE, ends_session=True)
    assert lifecycle.state is OVER
    with pytest.raises(ValueError, match="only expire while recording"):
        lifecycle.expire()


def test_many_threads_one_step_at_a_time() -> None:
    """However many ask, every consumed step follows from the state before it."""
    lifecycle = EpisodeLifecycle()
    is_over = threading.Event()

    def press() -> None:
        while not is_over.is_set():
            for signal in (START, SUCCESS, DISCARD):
                lifecycle.request(signal)

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    steps: list[EpisodeStep] = []
    while len(steps) < 300:
        state = lifecycle.state
        step = lifecycle.consume()
        if step is not None:
            assert step in [step_of(state, signal) for signal in EpisodeSignal]
            steps.append(step)
    is_over.set()
    for thread in threads:
        thread.join()
    assert {step.kind for step in steps} == {"start", "end"}
