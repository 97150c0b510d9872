"""The one training loop, for the policy and for the value model."""

import logging
import signal
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from recap_core.checkpoints.train_state import (
    newest_train_state,
    restore_train_state,
    save_train_state,
)
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.errors import ConfigError, TrainingError
from recap_core.models.parameters import Params
from recap_core.progress import Bar, Progress, Silent
from recap_core.sharding import Shardings, agree, device_mesh, fsdp_shardings, place_batch
from recap_core.training.early_stopping import EarlyStopping
from recap_core.training.journal import Journal
from recap_core.training.optimizer import make_optimizer
from recap_core.training.prefetch import Batches, Prefetch
from recap_core.training.state import (
    Mask,
    ParamsSource,
    TrainState,
    all_trainable,
    initial_state,
    parameters,
    state_shapes,
)
from recap_core.training.step import LossFn, TrainStep, make_train_step
from recap_core.training.stop_signals import StopSignals
from recap_core.training.throughput import Throughput

_log = logging.getLogger(__name__)


def training_mesh(runtime: TrainRuntime) -> Mesh:
    """The devices that a training uses.

    Raises:
        ConfigError: If there are fewer than ``num_devices``, or ``fsdp_devices`` does not divide
            them.
    """
    devices = jax.devices()
    wanted = runtime.num_devices or len(devices)
    if wanted > len(devices):
        raise ConfigError(
            f"num_devices is {wanted}, but there are {len(devices)}. Lower it, or leave it out."
        )
    return device_mesh(runtime.fsdp_devices, devices=devices[:wanted])


def train(  # noqa: PLR0913 - the loop's four parts, and who watches
    loss_fn: LossFn,
    init_params: Params | ParamsSource,
    batches: Batches,
    config: TrainConfig,
    runtime: TrainRuntime,
    *,
    work: Path,
    trainable: Mask | None = None,
    flops_per_sample: int | None = None,
    validation: EarlyStopping | None = None,
    progress: Progress | None = None,
    label: str = "train",
) -> TrainState:
    """Train for ``config.num_steps`` steps, or for what is left of them, or until nothing improves.

    A run continues from the newest checkpoint in ``work``, bit for bit as if never interrupted.
    ``work`` also receives ``metrics.jsonl``: means over the steps since the last line. In the main
    thread, SIGTERM and SIGINT first write a checkpoint. Several processes that train together all
    call this, with their own rows of the batches; they agree to stop where metrics are written.

    Args:
        loss_fn: Loss and metrics of a batch.
        init_params: Parameters before the first step, or where they can be loaded from.
        batches: The batch of every step.
        config: Optimisation settings.
        runtime: Devices, memory, intervals of logging and saving.
        work: Directory for checkpoints and metrics.
        trainable: Which leaves are trained; None trains all.
        flops_per_sample: Floating-point operations of one sample, for the metric ``mfu``.
        validation: Measures states at its own interval, keeps the best and may end the training
            early; it changes no step. None: nothing is measured.
        progress: Who watches; they know the work as ``label``.
        label: Name of the work.

    Returns:
        The state after the last step, also the newest checkpoint in ``work``; its leaves are spread
        over the devices as :func:`recap_core.sharding.fsdp_shardings` says.

    Raises:
        TrainingError: If loss, gradient or weights are not finite, no leaf is trainable, or after
            SIGTERM.
        ConfigError: If the devices or the batch cannot be divided as ``runtime`` asks.
        CheckpointError: If the checkpoint in ``work`` belongs to another run.
        KeyboardInterrupt: After SIGINT.
    """
    source = parameters(init_params)
    trainable = all_trainable(source.shapes) if trainable is None else trainable
    mesh = training_mesh(runtime)
    _check_batch(config, runtime, mesh)
    shardings, state = _first_state(source, trainable, config, (mesh, runtime), work)
    parts = runtime.micro_batches
    train_step = make_train_step(
        loss_fn, config, trainable=trainable, micro_batches=parts, shardings=shardings
    )
    if validation is not None and validation.is_over(work, int(state.step)):
        return state
    run = _Run(batches, config, runtime, work, mesh, flops_per_sample, validation)
    with (progress or Silent()).bar(label, config.num_steps, int(state.step)) as bar:
        return run.to_the_end(state, train_step, bar)


class _Run(NamedTuple):
    """What all steps of a training have in common."""

    batches: Batches
    config: TrainConfig
    runtime: TrainRuntime
    work: Path
    mesh: Mesh
    flops_per_sample: int | None
    validation: EarlyStopping | None

    def to_the_end(self, state: TrainState, train_step: TrainStep, bar: Bar) -> TrainState:
        """Every step that is left, logged, checked and saved at its intervals."""
        batches, config, runtime, work, mesh, flops, validation = self
        start = int(state.step)
        watch = Throughput(batch_size=config.batch_size, mesh=mesh, flops_per_sample=flops)
        journal = Journal(batches, config, work, start=start, bar=bar, throughput=watch)
        place = partial(place_batch, mesh=mesh)
        with (
            StopSignals() as stop,
            Prefetch(batches, start=start, stop=config.num_steps, place=place) as prefetch,
        ):
            for step, batch in prefetch:
                state, metrics = train_step(state, batch)
                done = step + 1
                journal.add(metrics, waited_s=prefetch.waited_s)
                is_over = done == config.num_steps
                if validation is not None and validation.is_due(done):
                    journal.check()  # a state with NaN is not worth measuring
                    with watch.paused():
                        measured = validation(state, done)
                    journal.write(measured)
                    is_over |= validation.should_stop
                is_logged = done % runtime.log_interval == 0
                received = _received(stop, is_logged=is_logged)
                is_end = is_over or received is not None
                if is_end or is_logged:
                    journal.write()
                if is_end or done % runtime.save_interval == 0:
                    journal.check()
                    save_train_state(work, state, step=done)
                if is_over:
                    break
                if received is not None:
                    _stop(received, done, config)
        return state


def _check_batch(config: TrainConfig, runtime: TrainRuntime, mesh: Mesh) -> None:
    parts = mesh.size * runtime.micro_batches
    if config.batch_size % parts:
        raise ConfigError(
            f"batch_size is {config.batch_size}, which cannot be shared evenly by {mesh.size} "
            f"devices in {runtime.micro_batches} micro-batches. Make it a multiple of {parts}, or "
            "set num_devices or micro_batches."
        )


def _first_state(
    source: ParamsSource,
    trainable: Mask,
    config: TrainConfig,
    devices: tuple[Mesh, TrainRuntime],
    work: Path,
) -> tuple[Shardings, TrainState]:
    """Shardings of the state, and the state: that of the newest checkpoint, or a new one."""
    mesh, runtime = devices
    optimizer, with_ema = make_optimizer(config.optimizer), config.ema_decay is not None
    shapes = state_shapes(source.shapes, optimizer, trainable, with_ema=with_ema)
    shardings = fsdp_shardings(shapes, mesh, min_bytes=runtime.fsdp_min_bytes)
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = newest_train_state(work)
    if checkpoint is not None:
        _log.info("training continues from %s", checkpoint)
        like = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            shardings,
        )
        return shardings, restore_train_state(checkpoint, like=like)
    return shardings, initial_state(
        source, optimizer, trainable, with_ema=with_ema, shardings=shardings
    )


def _received(stop: StopSignals, *, is_logged: bool) -> signal.Signals | None:
    """The signal that stops this training after this step, in all of its processes."""
    if jax.process_count() == 1:
        return stop.received
    # Asking the others takes time, so they are asked now and then.
    if not is_logged or not agree(stop.received is not None):
        return None
    return stop.received or signal.SIGTERM


def _stop(received: signal.Signals, done: int, config: TrainConfig) -> None:
    if received == signal.SIGINT:
        raise KeyboardInterrupt
    raise TrainingError(
        f"{received.name} stopped the training after step {done} of {config.num_steps}; "
        "its checkpoint is written. Run the same stage again to continue."
    )
