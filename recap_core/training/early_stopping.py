"""Measurements during a training: the best parameters are kept, and it stops when none follow.

Below the training's work directory:

    validation.json        what was measured so far, one entry per measurement
    best/step_<number>/    trained leaves, raw and averaged, of the best measurement

Both are written before the checkpoint of their step, each by one rename. A training that goes on
from a checkpoint forgets what was measured after it and measures that again, to the same numbers.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recap_core.checkpoints.train_state import (
    newest_train_state,
    remove_train_state,
    restore_train_state,
    save_train_state,
    train_state_step,
    train_states,
)
from recap_core.config.training import ValidationConfig
from recap_core.errors import TrainingError
from recap_core.models.parameters import Params
from recap_core.sharding import is_first_process
from recap_core.training.state import Mask, TrainState, filled, trainable_part

VALIDATION_FILE = "validation.json"
VAL_LOSS = "val_loss"
_BEST = "best"

type Measure = Callable[[TrainState], Mapping[str, float]]
"""Metrics of a state on data that it is not trained on; ``val_loss`` is the lower the better."""


class Measured(NamedTuple):
    """One measurement."""

    step: int
    """Finished steps."""
    metrics: dict[str, float]

    @property
    def loss(self) -> float:
        """What the best is chosen by."""
        return self.metrics[VAL_LOSS]


class EarlyStopping:
    """Measures a training, remembers the best parameters, and says when to stop."""

    def __init__(
        self, measure: Measure, config: ValidationConfig, *, trainable: Mask, num_steps: int
    ) -> None:
        """Nothing has been measured yet.

        Args:
            measure: Measures a state; a function of the state alone.
            config: How often, and how long to wait for a new best.
            trainable: Which leaves are trained; the others are not kept.
            num_steps: Steps of the whole training.
        """
        self._measure = measure
        self._config = config
        self._trainable = trainable
        self._num_steps = num_steps
        self._work = Path()
        self._history: list[Measured] = []

    @property
    def history(self) -> tuple[Measured, ...]:
        """All measurements, in order."""
        return tuple(self._history)

    @property
    def best(self) -> Measured | None:
        """The first of the lowest loss; None before the first measurement."""
        return min(self._history, key=lambda measured: measured.loss, default=None)

    @property
    def should_stop(self) -> bool:
        """Whether the last ``patience`` measurements brought no new best."""
        if self.best is None or self._config.patience is None:
            return False
        return len(self._history) - 1 - self._history.index(self.best) >= self._config.patience

    def resume(self, work: Path, step: int) -> None:
        """Continue in ``work`` after ``step`` finished steps."""
        self._work = work
        path = work / VALIDATION_FILE
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        self._history = [Measured(row.pop("step"), row) for row in rows if row["step"] <= step]

    def is_over(self, work: Path, step: int) -> bool:
        """Continue in ``work`` after ``step`` finished steps; whether there is nothing to do."""
        self.resume(work, step)
        return self.should_stop

    def is_due(self, step: int) -> bool:
        """Whether a state after ``step`` finished steps is to be measured."""
        return step % self._config.interval == 0 or step == self._num_steps

    def __call__(self, state: TrainState, step: int) -> dict[str, float]:
        """Measure ``state``, and keep its parameters if they are the best so far.

        Args:
            state: After ``step`` finished steps; every number in it is finite.
            step: Finished steps.

        Returns:
            The metrics, ``best_val_loss`` among them.

        Raises:
            TrainingError: If the loss is not finite: it could not be compared.
        """
        measured = Measured(step, dict(self._measure(state)))
        if not math.isfinite(measured.loss):
            raise TrainingError(
                f"{VAL_LOSS} is {measured.loss} after step {step}, though every weight is finite: "
                "some validation frame leaves the range of the compute dtype. Look at the state "
                "and images of the validation episodes, or set model.compute_dtype to float32."
            )
        self._history.append(measured)
        if self.best is measured:
            save_train_state(self._work / _BEST, self._kept(state), step=step, keep=None)
        self._write()
        self._prune()
        best = self.best or measured
        return measured.metrics | {f"best_{VAL_LOSS}": best.loss}

    def best_params(self, state: TrainState) -> tuple[Params, Params | None]:
        """Raw and averaged parameters of the best measurement, on the devices of ``state``.

        Args:
            state: Any state of the same training; frozen leaves are taken from it.

        Raises:
            TrainingError: If nothing was measured.
            CheckpointError: If the best parameters are gone.
        """
        if self.best is None:
            raise TrainingError("nothing was measured on validation episodes, so nothing is best")
        path = self._work / _BEST / f"step_{self.best.step:08d}"
        kept = restore_train_state(path, like=self._kept(state))
        average = kept.get("ema_params")
        return (
            filled(kept["params"], state.params),
            None if average is None else filled(average, state.params),
        )

    def _kept(self, state: TrainState) -> dict[str, Any]:
        kept = {"params": trainable_part(state.params, self._trainable)}
        return kept if state.ema_params is None else kept | {"ema_params": state.ema_params}

    def _write(self) -> None:
        if not is_first_process():
            return
        path = self._work / VALIDATION_FILE
        rows = [{"step": step, **metrics} for step, metrics in self._history]
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(rows, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _prune(self) -> None:
        """Keep the best, and what was best at the checkpoint that a kill would lead back to."""
        if not is_first_process():
            return
        checkpoint = newest_train_state(self._work)
        done = 0 if checkpoint is None else train_state_step(checkpoint)
        earlier = [measured for measured in self._history if measured.step <= done]
        wanted = {
            min(measured, key=lambda one: one.loss).step
            for measured in (earlier, self._history)
            if measured
        }
        for path in train_states(self._work / _BEST):
            if train_state_step(path) not in wanted:
                remove_train_state(path)
