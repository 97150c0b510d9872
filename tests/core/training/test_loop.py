"""The training loop: resuming, stopping, guarding and telling."""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

from recap_core.config.training import TrainRuntime
from recap_core.errors import TrainingError
from recap_core.progress import Bar, read_metrics
from recap_core.training.loop import train
from recap_core.training.state import TrainState
from tests.core.training import regression
from tests.core.training.regression import LineBatches

RUNTIME = TrainRuntime(log_interval=2, save_interval=4)


def _run(
    work: Path,
    num_steps: int,
    batches: LineBatches | None = None,
    *,
    runtime: TrainRuntime = RUNTIME,
) -> TrainState:
    return train(
        regression.loss,
        regression.params(),
        batches or LineBatches(),
        regression.config(num_steps),
        runtime,
        work=work,
    )


def _assert_same(a: TrainState, b: TrainState) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


class _SignalAt(LineBatches):
    """Batches that send this process a signal while a step's data are made."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        super().__init__()
        self._signal_step = step
        self._number = number

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        if step == self._signal_step:
            os.kill(os.getpid(), self._number)
        return super().__call__(step)


class _Recorder:
    """Somebody who watches and remembers."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, str]] = []
        self.opened: tuple[str, int, int] | None = None

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        self.opened = (label, total, done)
        yield self

    def update(self, done: int, note: str = "") -> None:
        self.updates.append((done, note))


def test_training_fits_a_line(tmp_path: Path) -> None:
    """200 steps of Adam find y = 2 x + 1, and the average follows."""
    optimizer = regression.OPTIMIZER.model_copy(update={"decay_steps": 200})
    config = regression.config(200, optimizer=optimizer, ema_decay=0.9)

    runtime = TrainRuntime(log_interval=50, save_interval=1000)
    state = train(
        regression.loss, regression.params(), LineBatches(), config, runtime, work=tmp_path
    )

    assert state.ema_params is not None
    assert int(state.step) == 200
    np.testing.assert_allclose(state.params["line"]["kernel"], [[2]], atol=0.05)
    np.testing.assert_allclose(state.ema_params["line"]["bias"], [1], atol=0.05)


def test_resuming_continues_bit_for_bit(tmp_path: Path) -> None:
    """Two steps, a new process's worth of state, two more: the same as four in one go."""
    whole = _run(tmp_path / "whole", 4)
    _run(tmp_path / "halves", 2)

    resumed = _run(tmp_path / "halves", 4)

    _assert_same(resumed, whole)


def test_a_resumed_run_asks_only_for_the_missing_batches(tmp_path: Path) -> None:
    """Data order continues where it stopped."""
    _run(tmp_path, 2)
    batches = LineBatches()

    _run(tmp_path, 5, batches)

    assert batches.asked == [2, 3, 4]


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    """Running again with all steps done returns the same state without a batch."""
    first = _run(tmp_path, 3)
    batches = LineBatches()

    again = _run(tmp_path, 3, batches)

    _assert_same(again, first)
    assert batches.asked == []


def test_initial_parameters_survive(tmp_path: Path) -> None:
    """The loop overwrites its own memory only, not the caller's device arrays."""
    initial = jax.tree.map(jax.numpy.asarray, regression.params())

    train(regression.loss, initial, LineBatches(), regression.config(2), RUNTIME, work=tmp_path)

    np.testing.assert_array_equal(initial["line"]["kernel"], [[0]])


def test_metrics_are_means_over_the_steps_since_the_last_line(tmp_path: Path) -> None:
    """One line per two steps, each the mean of two; the last one covers what is left over."""
    _run(tmp_path / "twos", 5)
    _run(tmp_path / "ones", 5, runtime=TrainRuntime(log_interval=1))

    ones = read_metrics(tmp_path / "ones" / "metrics.jsonl")
    twos = read_metrics(tmp_path / "twos" / "metrics.jsonl")

    assert [row["step"] for row in twos] == [2, 4, 5]
    loss = [row["loss"] for row in ones]
    expected = [(loss[0] + loss[1]) / 2, (loss[2] + loss[3]) / 2, loss[4]]
    np.testing.assert_allclose([row["loss"] for row in twos], expected, rtol=1e-6)
    # At step 0 the line is 0, so the loss is the mean of (2 x + 1)^2, up to the noise.
    first = np.mean((2 * LineBatches().frames(0) / 10 + 1) ** 2)
    assert loss[0] == pytest.approx(first, rel=0.05)
    assert {"grad_norm", "param_norm", "steps_per_s"} <= twos[0].keys()


def test_the_logged_rate_is_that_of_the_last_step(tmp_path: Path) -> None:
    """Step 1 of a two-step warm-up from 0.05 / 3 to 0.05 is half-way."""
    _run(tmp_path, 2)

    row = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert row["lr"] == pytest.approx((0.05 / 3 + 0.05) / 2)


def test_a_class_without_samples_has_no_metric(tmp_path: Path) -> None:
    """The mean over no sample is left out instead of being NaN."""

    class Negative(LineBatches):
        def frames(self, step: int) -> np.ndarray:
            return np.full(4, -1 - step)

    _run(tmp_path, 2, Negative())

    assert "loss_positive" not in read_metrics(tmp_path / "metrics.jsonl")[0]


def test_resuming_rewrites_no_line_twice(tmp_path: Path) -> None:
    """Lines past the checkpoint that training resumes from are replaced."""
    batches = LineBatches(bad_step=7)
    with pytest.raises(TrainingError):
        _run(tmp_path, 10, batches)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [2, 4, 6]

    _run(tmp_path, 10)

    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]


def test_a_nan_names_step_frames_and_checkpoint(tmp_path: Path) -> None:
    """Step 7 (counted from 1) is bad; it is noticed at the end of its interval, step 8."""
    with pytest.raises(TrainingError) as caught:
        _run(tmp_path, 12, LineBatches(bad_step=6))

    message = str(caught.value)
    # Its frames are -2, 0, 0 and -4, ten frames to an episode, the first of them frame -10.
    assert "loss is nan at step 7 of 12" in message
    assert "on 4 frames: episode 0, frames 8, 6; episode 1, frames 0, 0." in message
    assert "Not finite in the data themselves: episode 1, frames 0." in message
    assert str(tmp_path / "step_00000004") in message
    assert not (tmp_path / "step_00000008").exists()


def test_weights_that_overflow_are_never_saved(tmp_path: Path) -> None:
    """Loss and gradient of step 1 are finite, but its rate throws the weights to infinity."""
    optimizer = regression.OPTIMIZER.model_copy(update={"peak_lr": 3e38, "end_lr": 1.0})
    optimizer = optimizer.model_copy(update={"warmup_steps": 0, "weight_decay": 3e38})
    start = jax.tree.map(lambda leaf: leaf + 1, regression.params())
    config = regression.config(4, optimizer=optimizer)
    runtime = TrainRuntime(log_interval=1, save_interval=1)

    with pytest.raises(TrainingError, match=r"param_norm is (inf|nan) at step 1 of 4"):
        train(regression.loss, start, LineBatches(), config, runtime, work=tmp_path)

    assert not list(tmp_path.glob("step_*"))


def test_a_large_batch_is_named_in_part(tmp_path: Path) -> None:
    """Sixty-four frames, and how many more there are."""

    class Large(LineBatches):
        def __call__(self, step: int) -> dict[str, np.ndarray]:
            return {"x": np.full(100, np.nan if step == 1 else 1.0, np.float32)}

        def frames(self, step: int) -> np.ndarray:
            del step
            return np.arange(100)

    with pytest.raises(TrainingError, match=r"on 100 frames: .*; and 36 more\."):
        train(
            regression.loss,
            regression.params(),
            Large(),
            regression.config(2, batch_size=100),
            RUNTIME,
            work=tmp_path,
        )


def test_an_error_in_the_data_reaches_the_caller(tmp_path: Path) -> None:
    """An exception of the background thread is raised by the loop; the thread ends."""

    class Broken(LineBatches):
        def __call__(self, step: int) -> dict[str, np.ndarray]:
            if step == 3:
                raise OSError("video 3 is gone")
            return super().__call__(step)

    with pytest.raises(OSError, match="video 3 is gone"):
        _run(tmp_path, 10, Broken())

    assert "prefetch" not in {thread.name for thread in threading.enumerate()}


def test_sigterm_writes_a_checkpoint_and_training_can_go_on(tmp_path: Path) -> None:
    """A stopped run says where it stopped, and continues to the same result."""
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(TrainingError, match=r"SIGTERM stopped the training after step \d+ of 40"):
        _run(tmp_path / "stopped", 40, _SignalAt(5, signal.SIGTERM))

    assert signal.getsignal(signal.SIGTERM) is before
    _assert_same(_run(tmp_path / "stopped", 40), _run(tmp_path / "whole", 40))


def test_ctrl_c_writes_a_checkpoint_too(tmp_path: Path) -> None:
    """SIGINT stops after the running step, as a KeyboardInterrupt."""
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, 40, _SignalAt(5, signal.SIGINT))

    assert list(tmp_path.glob("step_*"))


def test_training_works_outside_the_main_thread(tmp_path: Path) -> None:
    """Without signals to catch, the loop does the same."""
    states: list[TrainState] = []
    thread = threading.Thread(target=lambda: states.append(_run(tmp_path / "thread", 3)))
    thread.start()
    thread.join()

    _assert_same(states[0], _run(tmp_path / "main", 3))


def test_whoever_watches_sees_loss_and_rate(tmp_path: Path) -> None:
    """The bar opens at the resumed step, and its last note holds loss and learning rate."""
    _run(tmp_path, 2)
    recorder = _Recorder()

    train(
        regression.loss,
        regression.params(),
        LineBatches(),
        regression.config(4),
        RUNTIME,
        work=tmp_path,
        progress=recorder,
        label="policy",
    )

    assert recorder.opened == ("policy", 4, 2)
    assert recorder.updates[0] == (2, "compiling")
    done, note = recorder.updates[-1]
    assert done == 4
    assert "loss " in note
    assert "lr " in note
