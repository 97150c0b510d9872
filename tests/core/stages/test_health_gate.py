"""The health gate on the simulator's own data: who may label, and who may not."""

import json

import numpy as np
import pytest

from recap_core.config.annotations import EpisodeAnnotation
from recap_core.data.frames import read_frames
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.stages.train_value import HEALTH_FILE
from recap_core.stages.value_evaluation import (
    episodes_of_split,
    evaluate_value_model,
    open_subject,
)
from recap_core.stages.value_report import warnings
from tests.simulated_values import SimulatedValues


def reasons(values: SimulatedValues, model: ValueCheckpoint) -> list[str]:
    """Why a value model did not pass."""
    return json.loads((values.store.path(model) / HEALTH_FILE).read_text())["reasons"]


def test_a_sensible_value_model_passes(simulated: SimulatedValues) -> None:
    """Under the default bars, on twelve episodes that it was not trained on."""
    model = simulated.value_model(simulated.dataset)

    found = json.loads((simulated.store.path(model) / HEALTH_FILE).read_text())
    assert model.healthy
    assert found["reasons"] == []
    assert found["num_success_episodes"] + found["num_failure_episodes"] == 12
    for name, bar in (("spearman", 0.2), ("separation", 0.0)):
        estimate, low, high = found[name]
        assert bar < low < estimate < high


def test_shuffled_outcomes_do_not_pass(simulated: SimulatedValues) -> None:
    """The same episodes with their marks permuted: nothing about them can be learned."""
    success = read_frames(simulated.store.path(simulated.dataset)).success
    shuffled = np.random.default_rng(3).permutation(success)
    marks = (
        EpisodeAnnotation(episode=name, outcome="success" if mark else "failure")
        for name, mark in zip(simulated.names, shuffled, strict=True)
    )

    model = simulated.value_model(simulated.corrected(*marks))

    assert not model.healthy
    assert any("lower 95 % bound" in reason for reason in reasons(simulated, model))


def test_one_outcome_alone_does_not_pass(simulated: SimulatedValues) -> None:
    """Without a failure there is nothing to tell successes from; the reason says what to do."""
    success = read_frames(simulated.store.path(simulated.dataset)).success
    failures = [name for name, ok in zip(simulated.names, success, strict=True) if not ok]
    kept = simulated.corrected(*(EpisodeAnnotation(episode=n, excluded=True) for n in failures))

    model = simulated.value_model(kept)

    assert kept.num_episodes == int(success.sum())
    assert not model.healthy
    assert "0 failures are held out" in reasons(simulated, model)[0]
    assert "record more episodes" in reasons(simulated, model)[0]


def test_three_episodes_do_not_pass(simulated: SimulatedValues) -> None:
    """Whatever they show: too few are held out to say anything."""
    left_out = (EpisodeAnnotation(episode=name, excluded=True) for name in simulated.names[3:])

    model = simulated.value_model(simulated.corrected(*left_out))

    assert not model.healthy
    assert "are held out, at least 2 of each are needed" in reasons(simulated, model)[0]


def test_the_same_verdict_from_outside(simulated: SimulatedValues) -> None:
    """Judged again on its held-out episodes, a model has the numbers of its training."""
    model = simulated.value_model(simulated.dataset)
    subject = open_subject(simulated.store, model)

    found = evaluate_value_model(simulated.store, subject, episodes_of_split(subject, "held_out"))

    stored = simulated.store.manifest(model).metrics
    assert found.health.healthy
    for name, value in found.health.metrics().items():
        assert stored[name] == pytest.approx(value, abs=1e-6), name
    assert found.trained_cross_entropy is not None
    assert warnings(found) == ()


def test_a_wrong_mark_is_found(simulated: SimulatedValues) -> None:
    """A held-out failure marked a success comes first in the audit, with what corrects it."""
    model = simulated.value_model(simulated.dataset)
    own = open_subject(simulated.store, model)
    held_out = episodes_of_split(own, "held_out")
    wrong = next(episode for episode in held_out if not own.table.success[episode])
    marked = EpisodeAnnotation(episode=simulated.names[wrong], outcome="success")
    other = open_subject(simulated.store, model, simulated.corrected(marked))

    found = evaluate_value_model(simulated.store, other, episodes_of_split(other, "held_out"))

    assert other.roles == own.roles
    assert found.audit[0].episode == wrong
    assert found.audit[0].opposite == "failure"
    assert found.audit[0].score > 0.8
