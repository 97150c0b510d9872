"""An operator who follows a script."""

from recap_core.collection.inputs.scripted import (
    Answered,
    AtTick,
    AtTime,
    ScriptedOperator,
    ScriptStep,
)
from recap_core.rollout.live import EpisodeSignal, InputSource
from recap_core.rollout.phase import PhaseEvent
from tests.core.collection.inputs.hearing import Listener, eventually

START, SUCCESS, QUIT = EpisodeSignal.START_STOP, EpisodeSignal.SUCCESS, EpisodeSignal.QUIT


def test_steps_come_at_their_ticks_in_order() -> None:
    """The second is due at tick 1, but comes after the first."""
    script = [
        ScriptStep(AtTick(2), START),
        ScriptStep(AtTick(1), PhaseEvent.PAUSE_RESUME),
        ScriptStep(AtTick(4), SUCCESS),
    ]
    operator = ScriptedOperator(script)
    listener = Listener(refused=frozenset({PhaseEvent.PAUSE_RESUME}))
    operator.start(listener)

    heard: list[int] = []
    for _ in range(4):
        operator.tick()
        heard.append(len(listener.requests))

    assert heard == [0, 2, 2, 3]
    assert operator.is_done
    assert operator.answers == (
        Answered(START, was_accepted=True),
        Answered(PhaseEvent.PAUSE_RESUME, was_accepted=False),
        Answered(SUCCESS, was_accepted=True),
    )


def test_time_counts_from_the_start() -> None:
    now_s = [100.0]
    operator = ScriptedOperator([ScriptStep(AtTime(2.5), QUIT)], clock=lambda: now_s[0])
    listener = Listener()
    operator.start(listener)

    now_s[0] = 102.4
    operator.tick()
    assert listener.requests == []
    now_s[0] = 102.5
    operator.tick()
    assert listener.requests == [QUIT]


def test_with_a_thread_it_waits_for_conditions() -> None:
    is_ready: list[bool] = []
    operator = ScriptedOperator(
        [ScriptStep(lambda: bool(is_ready), START), ScriptStep(AtTime(0.0), QUIT)], poll_s=0.001
    )
    listener = Listener()
    operator.start(listener)
    assert listener.requests == []

    is_ready.append(True)

    assert listener.wait_for(2) == [START, QUIT]
    eventually(lambda: operator.is_done, "done")
    operator.stop()
    assert listener.sources == ["script", "script"]


def test_after_stop_nothing_comes() -> None:
    operator = ScriptedOperator([ScriptStep(AtTick(1), QUIT)], poll_s=0.001)
    listener = Listener()
    operator.start(listener)
    assert operator.status().problem is None

    operator.stop()
    operator.tick()

    assert listener.requests == []
    assert operator.status().problem == "it has been stopped"
    assert isinstance(operator, InputSource)
