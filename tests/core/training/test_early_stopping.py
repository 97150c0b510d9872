"""Measuring a training: the best parameters are kept, and it stops when none follow."""

import os
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

from recap_core.checkpoints.train_state import train_state_step, train_states
from recap_core.config.training import TrainRuntime, ValidationConfig
from recap_core.errors import TrainingError
from recap_core.progress import Bar, Progress, read_metrics
from recap_core.training.early_stopping import EarlyStopping
from recap_core.training.loop import train
from recap_core.training.state import TrainState, all_trainable
from tests.core.training import regression
from tests.core.training.regression import LineBatches

RUNTIME = TrainRuntime(log_interval=4, save_interval=10)
STEPS, INTERVAL = 60, 3


class _HalfWay:
    """A held-out loss that training passes through: the slope rises to 2, the best is 1."""

    def __init__(self) -> None:
        self.slopes: dict[int, float] = {}

    def __call__(self, state: TrainState) -> Mapping[str, float]:
        assert state.ema_params is not None
        slope = float(state.ema_params["line"]["kernel"][0, 0])
        self.slopes[int(state.step)] = slope
        return {"val_loss": (slope - 1) ** 2}


class _StopsAt(LineBatches):
    """Batches that end the training once, by a signal or by an error."""

    def __init__(self, step: int, how: signal.Signals | OSError) -> None:
        super().__init__()
        self._stop_step = step
        self._how = how

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        if step == self._stop_step:
            if isinstance(self._how, OSError):
                raise self._how
            os.kill(os.getpid(), self._how)
        return super().__call__(step)


class _Notes:
    """Somebody who watches and remembers what was said last."""

    def __init__(self) -> None:
        self.last = ""

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        del label, total, done
        yield self

    def update(self, done: int, note: str = "") -> None:
        del done
        self.last = note


def _run(
    work: Path,
    patience: int | None,
    batches: LineBatches | None = None,
    *,
    num_steps: int = STEPS,
    progress: Progress | None = None,
) -> tuple[TrainState, EarlyStopping, _HalfWay]:
    measure = _HalfWay()
    stopping = EarlyStopping(
        measure,
        ValidationConfig(interval=INTERVAL, patience=patience),
        trainable=all_trainable(regression.params()),
        num_steps=num_steps,
    )
    state = train(
        regression.loss,
        regression.params(),
        batches or LineBatches(),
        regression.config(num_steps, ema_decay=0.5),
        RUNTIME,
        work=work,
        validation=stopping,
        progress=progress,
    )
    return state, stopping, measure


def _assert_same(a: object, b: object) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_best_is_kept_and_training_stops(tmp_path: Path) -> None:
    """Two measurements after the best one, which is the step whose slope was nearest to 1."""
    state, stopping, measure = _run(tmp_path, 2)

    best = min(measure.slopes, key=lambda step: abs(measure.slopes[step] - 1))
    assert stopping.best is not None
    assert stopping.best.step == best
    assert int(state.step) == best + 2 * INTERVAL < STEPS
    _, average = stopping.best_params(state)
    assert average is not None
    assert float(average["line"]["kernel"][0, 0]) == measure.slopes[best]


def test_a_run_that_stopped_early_is_not_continued(tmp_path: Path) -> None:
    """Running it again asks for no batch, measures nothing, and has the same best parameters."""
    state, stopping, _ = _run(tmp_path, 2)
    batches = LineBatches()

    again, same, measure = _run(tmp_path, 2, batches)

    _assert_same(again, state)
    _assert_same(same.best_params(again), stopping.best_params(state))
    assert same.history == stopping.history
    assert batches.asked == []
    assert measure.slopes == {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainState, EarlyStopping]:
    """A run with a patience of 4 that nothing interrupted."""
    state, stopping, _ = _run(tmp_path_factory.mktemp("whole"), 4)
    return state, stopping


@pytest.mark.parametrize(
    ("step", "how"), [(18, OSError("gone")), (25, signal.SIGTERM), (36, OSError("gone"))]
)
def test_an_interrupted_run_ends_as_if_it_was_not(
    tmp_path: Path,
    whole: tuple[TrainState, EarlyStopping],
    step: int,
    how: signal.Signals | OSError,
) -> None:
    """Also where it was killed between a measurement and the checkpoint after it."""
    expected_state, expected = whole
    with pytest.raises((TrainingError, OSError)):
        _run(tmp_path, 4, _StopsAt(step, how))

    state, stopping, _ = _run(tmp_path, 4)

    _assert_same(state, expected_state)
    assert stopping.history == expected.history
    _assert_same(stopping.best_params(state), expected.best_params(expected_state))


def test_measuring_changes_no_step(tmp_path: Path) -> None:
    """Without patience, the training that is measured is the training that is not."""
    measured, stopping, _ = _run(tmp_path / "a", None, num_steps=10)
    plain = train(
        regression.loss,
        regression.params(),
        LineBatches(),
        regression.config(10, ema_decay=0.5),
        RUNTIME,
        work=tmp_path / "b",
    )

    _assert_same(measured, plain)
    # Every third step, and the last one.
    assert [one.step for one in stopping.history] == [3, 6, 9, 10]


def test_measurements_are_lines_of_metrics(tmp_path: Path) -> None:
    """Each with the training's own means, once per step, beside the lines of the log interval."""
    notes = _Notes()
    _, stopping, _ = _run(tmp_path, None, num_steps=10, progress=notes)

    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [3, 4, 6, 8, 9, 10]
    found = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row}
    assert found == {one.step: one.loss for one in stopping.history}
    assert all("loss" in row for row in rows)
    assert rows[-1]["best_val_loss"] == min(found.values())
    assert f"val {found[10]:.4g} (best {min(found.values()):.4g})" in notes.last


def test_few_parameters_are_kept(tmp_path: Path) -> None:
    """The best, and at most what was best at the newest checkpoint."""
    _, stopping, _ = _run(tmp_path, None, num_steps=25)

    assert stopping.best is not None
    kept = [train_state_step(path) for path in train_states(tmp_path / "best")]
    assert stopping.best.step in kept
    assert len(kept) <= 2


def test_nothing_measured_has_no_best(tmp_path: Path) -> None:
    """Asking for it is an error, not an empty answer."""
    stopping = EarlyStopping(
        _HalfWay(), ValidationConfig(), trainable=all_trainable(regression.params()), num_steps=1
    )
    stopping.resume(tmp_path, 0)

    assert stopping.best is None
    assert not stopping.should_stop
    with pytest.raises(TrainingError, match="nothing was measured"):
        stopping.best_params(TrainState(np.int32(0), {}, None, ()))  # pyright: ignore[reportArgumentType] - never read


def test_a_loss_that_cannot_be_compared_ends_the_training(tmp_path: Path) -> None:
    """A NaN would stay the best for ever, for nothing is below it."""
    stopping = EarlyStopping(
        lambda state: {"val_loss": float("nan")},  # noqa: ARG005 - whatever it is
        ValidationConfig(interval=1),
        trainable=all_trainable(regression.params()),
        num_steps=2,
    )

    with pytest.raises(TrainingError, match=r"val_loss is nan after step 1"):
        train(
            regression.loss,
            regression.params(),
            LineBatches(),
            regression.config(2, ema_decay=0.5),
            RUNTIME,
            work=tmp_path,
            validation=stopping,
        )
