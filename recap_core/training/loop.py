"""The one training loop, for the policy and for the value model."""

import logging
import math
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import jax

from recap_core.checkpoints.train_state import (
    newest_train_state,
    restore_train_state,
    save_train_state,
)
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.errors import TrainingError
from recap_core.models.parameters import Params
from recap_core.progress import Bar, MetricsLog, Progress, Silent
from recap_core.training.optimizer import make_optimizer
from recap_core.training.prefetch import Batches, Prefetch
from recap_core.training.state import Mask, TrainState, all_trainable, initial_state
from recap_core.training.step import LossFn, Mean, Metrics, make_train_step
from recap_core.training.stop_signals import StopSignals

_log = logging.getLogger(__name__)
_STEPS_IN_FLIGHT = 2
_SECONDS_BETWEEN_REDRAWS = 0.2
_MAX_FRAMES_IN_MESSAGE = 8


def train(  # noqa: PLR0913 - the loop's four parts, and who watches
    loss_fn: LossFn,
    init_params: Params,
    batches: Batches,
    config: TrainConfig,
    runtime: TrainRuntime,
    *,
    work: Path,
    trainable: Mask | None = None,
    progress: Progress | None = None,
    label: str = "train",
) -> TrainState:
    """Train for ``config.num_steps`` steps, or for what is left of them.

    A run continues from the newest checkpoint in ``work``; its result is bit for bit that of a run
    that was never interrupted. ``work`` also receives ``metrics.jsonl``: means over the steps since
    the last line. In the main thread, SIGTERM and SIGINT first write a checkpoint.

    Args:
        loss_fn: Loss and metrics of a batch.
        init_params: Parameters before the first step; left as they are.
        batches: The batch of every step.
        config: Optimisation settings.
        runtime: Intervals of logging and saving.
        work: Directory for checkpoints and metrics.
        trainable: Which leaves are trained; None trains all.
        progress: Who watches; they know the work as ``label``.
        label: Name of the work.

    Returns:
        The state after the last step, which is also the newest checkpoint in ``work``.

    Raises:
        TrainingError: If loss or gradient is not finite, no leaf is trainable, or after SIGTERM.
        CheckpointError: If the checkpoint in ``work`` belongs to another run.
        KeyboardInterrupt: After SIGINT.
    """
    trainable = all_trainable(init_params) if trainable is None else trainable
    state = _first_state(init_params, trainable, config, work)
    start = int(state.step)
    with (
        (progress or Silent()).bar(label, config.num_steps, start) as bar,
        StopSignals() as stop,
        Prefetch(batches, start=start, stop=config.num_steps) as prefetch,
    ):
        journal = _Journal(batches, config, work, start=start, bar=bar)
        train_step = make_train_step(loss_fn, config, trainable=trainable)
        for step, batch in prefetch:
            state, metrics = train_step(state, batch)
            done = step + 1
            journal.add(metrics)
            is_end = done == config.num_steps or stop.received is not None
            if is_end or done % runtime.log_interval == 0:
                journal.write()
            if is_end or done % runtime.save_interval == 0:
                journal.check()
                save_train_state(work, state, step=done)
            if stop.received is not None and done < config.num_steps:
                _stop(stop.received, done, config)
    return state


def _first_state(
    init_params: Params, trainable: Mask, config: TrainConfig, work: Path
) -> TrainState:
    def initial(params: Params) -> TrainState:
        return initial_state(
            params,
            make_optimizer(config.optimizer),
            trainable,
            with_ema=config.ema_decay is not None,
        )

    work.mkdir(parents=True, exist_ok=True)
    checkpoint = newest_train_state(work)
    if checkpoint is None:
        return initial(init_params)
    _log.info("training continues from %s", checkpoint)
    return restore_train_state(checkpoint, like=jax.eval_shape(initial, init_params))


def _stop(received: signal.Signals, done: int, config: TrainConfig) -> None:
    if received == signal.SIGINT:
        raise KeyboardInterrupt
    raise TrainingError(
        f"{received.name} stopped the training after step {done} of {config.num_steps}; "
        "its checkpoint is written. Run the same stage again to continue."
    )


class _Journal:
    """Metrics of the steps since the last line: bounded run-ahead, log lines, the NaN guard."""

    def __init__(
        self, batches: Batches, config: TrainConfig, work: Path, *, start: int, bar: Bar
    ) -> None:
        self._batches = batches
        self._config = config
        self._work = work
        self._bar = bar
        self._log = MetricsLog(work / "metrics.jsonl", resume_step=start)
        self._done = start
        self._pending: list[Metrics] = []
        self._note = "compiling"
        self._written_at = self._drawn_at = time.monotonic()
        bar.update(start, self._note)

    def add(self, metrics: Metrics) -> None:
        """Take a step's metrics, which the device may still be computing."""
        self._pending.append(metrics)
        self._done += 1
        if len(self._pending) > _STEPS_IN_FLIGHT:
            # Wait for an older step: the host stays ahead, but not without bound.
            jax.block_until_ready(self._pending[-1 - _STEPS_IN_FLIGHT]["loss"])
        now = time.monotonic()
        if now - self._drawn_at >= _SECONDS_BETWEEN_REDRAWS:
            self._bar.update(self._done, self._note)
            self._drawn_at = now

    def write(self) -> None:
        """Check the pending steps, and append their means to ``metrics.jsonl``.

        Raises:
            TrainingError: If one of them is not finite.
        """
        rows = self._finite_rows()
        now = time.monotonic()
        means = _means(rows)
        means["lr"] = float(rows[-1]["lr"].total)
        means["steps_per_s"] = len(rows) / max(now - self._written_at, 1e-9)
        self._log.write(self._done, means)
        self._note = f"loss {means['loss']:.4g}  lr {means['lr']:.2e}"
        self._bar.update(self._done, self._note)
        self._written_at = self._drawn_at = now
        self._pending.clear()

    def check(self) -> None:
        """Raise TrainingError if a pending step is not finite."""
        self._finite_rows()

    def _finite_rows(self) -> list[Mapping[str, Mean]]:
        rows = jax.device_get(self._pending)
        for offset, row in enumerate(rows):
            for name in ("loss", "grad_norm"):
                if not math.isfinite(row[name].total):
                    step = self._done - len(rows) + offset
                    raise self._not_finite(name, float(row[name].total), step)
        return rows

    def _not_finite(self, name: str, value: float, step: int) -> TrainingError:
        frames = [str(frame) for frame in self._batches.frames(step)]
        listed = frames[:_MAX_FRAMES_IN_MESSAGE]
        if len(frames) > len(listed):
            listed.append("...")
        return TrainingError(
            f"{name} is {value} at step {step + 1} of {self._config.num_steps}, "
            f"on {len(frames)} frames ({', '.join(listed)}). "
            f"Last good checkpoint: {newest_train_state(self._work) or 'none'}. "
            f"Check those frames, or lower peak_lr (now {self._config.optimizer.peak_lr:.3g})."
        )


def _means(rows: list[Mapping[str, Mean]]) -> dict[str, float]:
    totals = {name: sum(float(row[name].total) for row in rows) for name in rows[0]}
    nums = {name: sum(float(row[name].num) for row in rows) for name in rows[0]}
    return {name: totals[name] / nums[name] for name in rows[0] if nums[name] > 0}
