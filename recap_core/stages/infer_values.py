"""Stage 5: V(o_t) of a dataset's frames, stored once."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap_core.config.inference import InferRuntime
from recap_core.config.stages import InferValuesConfig
from recap_core.errors import ConfigError, DataError
from recap_core.lineage.artifacts import AnyDataset, ValueCheckpoint, Values
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.registry import INFER_VALUES
from recap_core.stages.value_loading import check_has_weights, load_value_model

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool

    from recap_core.data.frames import FrameTable
    from recap_core.valuation.inference import Source

_log = logging.getLogger(__name__)
_WORK = "values"


def infer_values(  # noqa: PLR0913 - the inputs of the stage; the rest by name
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    config: InferValuesConfig,
    runtime: InferRuntime | None = None,
    *,
    name: str,
    store: Store,
    progress: Progress | None = None,
) -> Values:
    """V(o_t) of the frames of ``dataset`` that ``config`` asks for.

    A killed run keeps its finished shards, and those that workers finished are taken up.

    Raises:
        CheckpointError: If the value model does not fit its own configuration, or is an import
            with leaves that have yet to be trained.
        ConfigError: If there are not as many devices as ``runtime`` asks for.
        DataError: If the dataset lacks what the model sees, or has no frame that is asked for.
    """
    check_has_weights(value_model)
    runs = runtime or InferRuntime()

    def build(area: Build) -> Built:
        import numpy as np

        from recap_core.data.frames import read_frames
        from recap_core.valuation.inference import infer_values as infer
        from recap_core.valuation.values import write_values

        table = read_frames(store.path(dataset))
        is_wanted = _wanted(table, dataset, config)
        with device_lock(progress):
            inferred = infer(
                table,
                lambda: _open_source(table, value_model, config, _devices(runs), (store, runs)),
                work=area.work / _WORK,
                is_wanted=is_wanted,
                runtime=runs,
                progress=progress,
            )
        values = inferred.values
        write_values(area.output, values, is_wanted=is_wanted)
        metrics = {"mean": float(np.nanmean(values)), "min": float(np.nanmin(values))}
        metrics |= {"max": float(np.nanmax(values))} | inferred.metrics
        _tell(inferred.metrics)
        missing = len(values) - int(is_wanted.sum())
        details = {"num_frames": len(values), "frames": config.frames, "num_missing": missing}
        return Built(details, metrics)

    inputs = {"dataset": dataset, "value_model": value_model}
    return store.produce(INFER_VALUES, config, inputs, name=name, build=build)


def infer_value_shards(  # noqa: PLR0913 - as infer_values; the rest by name
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    config: InferValuesConfig,
    runtime: InferRuntime,
    *,
    worker: int,
    store: Store,
    progress: Progress | None = None,
) -> dict[str, float]:
    """One worker's share of :func:`infer_values`: shards that nobody has finished or is at.

    Workers meet in the store's partial work, from which ``infer_values`` publishes. Safe to run
    any number of times, anywhere where the store is; nothing happens if the values exist.

    Args:
        dataset: As for :func:`infer_values`, as all that is not named below.
        value_model: The value model.
        config: What is inferred.
        runtime: How.
        worker: Number of this one among ``runtime.num_workers``, from 0; threads of one process
            divide its devices by it.
        store: The store that all workers share.
        progress: Who watches.

    Returns:
        Frames per second and shares of the time, where it computed anything.
    """
    check_has_weights(value_model)
    metrics: dict[str, float] = {}

    def share(work: Path) -> None:
        from recap_core.data.frames import read_frames
        from recap_core.valuation.inference import infer_share

        table = read_frames(store.path(dataset))
        own = worker if runtime.task_runner == "threads" else None
        found = infer_share(
            table,
            lambda: _open_source(
                table, value_model, config, _devices(runtime, worker=own), (store, runtime)
            ),
            work=work / _WORK,
            is_wanted=_wanted(table, dataset, config),
            runtime=runtime,
            progress=progress,
            label=f"infer values, worker {worker + 1}",
        )
        _tell(found)
        metrics.update(found)

    inputs = {"dataset": dataset, "value_model": value_model}
    store.contribute(INFER_VALUES, config, inputs, work=share)
    return metrics


def _wanted(
    table: "FrameTable", dataset: AnyDataset, config: InferValuesConfig
) -> "Bool[np.ndarray, ' n']":
    import numpy as np

    if config.frames == "all":
        return np.ones(table.num_frames, bool)
    wanted = ~table.is_demonstration
    if not wanted.any():
        raise DataError(
            f"dataset {dataset.name}-{dataset.id[:8]} holds demonstrations only, and values of "
            "rollouts are asked for. Set frames=all."
        )
    return wanted


def _devices(runtime: InferRuntime, *, worker: int | None = None) -> list[Any]:
    """``jax.Device`` to use: this process's, or a worker's share of them."""
    import jax

    found = jax.local_devices()
    wanted = runtime.num_devices or len(found)
    if wanted > len(found):
        raise ConfigError(f"num_devices is {wanted}, but there are {len(found)} devices. Lower it.")
    if worker is None:
        return found[:wanted]
    return found[worker : wanted : runtime.num_workers] or [found[worker % wanted]]


def _open_source(
    table: "FrameTable",
    value_model: ValueCheckpoint,
    config: InferValuesConfig,
    devices: list[Any],
    where: tuple[Store, InferRuntime],
) -> "Source":
    """The value model on ``devices``, looking at the dataset's videos."""
    from recap_core.features.observations import FrozenObservations
    from recap_core.stages.value_features import inference_features
    from recap_core.valuation.inference import Source
    from recap_core.valuation.prediction import ValuePredictor

    store, runtime = where
    loaded = load_value_model(store, value_model, use_ema=config.use_ema)
    value, transform = loaded.config, loaded.transform
    tokens = None
    if runtime.features == "auto":
        tokens = inference_features(table, value, loaded.params, store=store)
    predictor = ValuePredictor(
        value,
        loaded.params,
        transform,
        batch_size=runtime.batch_size,
        most=min(runtime.shard_frames, 512),
        devices=devices,
    )
    if tokens is None:
        return Source(predictor, predictor.observations(table))
    _log.info("images are read as the tokens that a training kept")
    return Source(predictor, FrozenObservations(table, value, transform, tokens))


def _tell(metrics: dict[str, float]) -> None:
    if "frames_per_s" in metrics:
        _log.info(
            "%.0f frames/s; %.0f %% of the time waiting for images, %.0f %% for the device",
            metrics["frames_per_s"],
            100 * metrics["fetch_share"],
            100 * metrics["device_share"],
        )
