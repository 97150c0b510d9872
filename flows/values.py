"""Values of a dataset, by this process or by several workers."""

from contextlib import nullcontext
from typing import Any

from prefect import flow
from prefect.futures import wait
from prefect.logging import get_run_logger
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from recap_core.config.inference import InferRuntime
from recap_core.config.stages import InferValuesConfig
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import AnyDataset, ValueCheckpoint, Values
from recap_core.lineage.device_lock import device_lock
from tasks.labelling import infer_value_shards, infer_values
from tasks.planning import is_planning
from tasks.progress import TaskProgress
from tasks.stage_key import find_made


def values_of(
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    config: InferValuesConfig,
    runtime: InferRuntime,
    *,
    name: str,
) -> Values:
    """Infer values; on several workers if ``runtime`` says so and they do not exist yet."""
    inputs = {"dataset": dataset, "value_model": value_model, "config": config}
    is_alone = runtime.num_workers == 1 or is_planning()
    if is_alone or find_made("infer_values", inputs) is not None:
        return infer_values(dataset, value_model, config, runtime, name=name)
    on_workers = infer_values_on_workers.with_options(task_runner=task_runner(runtime))
    return on_workers(dataset, value_model, config, runtime, name=name)


@flow(name="infer-values-on-workers", flow_run_name="infer-values-{name}")
def infer_values_on_workers(
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    config: InferValuesConfig = InferValuesConfig(),
    runtime: InferRuntime = InferRuntime(num_workers=2),
    name: str = "values",
) -> Values:
    """Workers take shards until none is left; then the values are put together here.

    A worker that fails costs its unfinished shards' time, and no result: they are made here.

    Args:
        dataset: Whose frames.
        value_model: Whose judgement.
        config: Which frames, under which parameters.
        runtime: How many workers, and what each of them does at once.
        name: Name of the new artifact.
    """
    # Threads use this process's devices; a cluster gives each worker its own.
    with device_lock(TaskProgress()) if runtime.task_runner == "threads" else nullcontext():
        workers = [
            infer_value_shards.submit(dataset, value_model, config, runtime, worker=worker)
            for worker in range(runtime.num_workers)
        ]
        wait(workers)
    num_failed = sum(not worker.state.is_completed() for worker in workers)
    if num_failed:
        get_run_logger().warning(
            "%d of %d workers failed; what they left is inferred here", num_failed, len(workers)
        )
    return infer_values(dataset, value_model, config, runtime, name=name)


def task_runner(runtime: InferRuntime) -> TaskRunner[Any]:
    """Where the workers run.

    Raises:
        ConfigError: If the extra that brings the runner is not installed.
    """
    if runtime.task_runner == "threads":
        return ThreadPoolTaskRunner(max_workers=runtime.num_workers)
    try:
        if runtime.task_runner == "dask":
            return _dask_runner(runtime)
        return _ray_runner(runtime)
    except ModuleNotFoundError as error:
        extra = runtime.task_runner
        raise ConfigError(
            f"task_runner is {extra}, but {error.name} is not installed. Install the extra with: "
            f"pip install 'recap[{extra}]'"
        ) from error


def _dask_runner(runtime: InferRuntime) -> TaskRunner[Any]:
    from prefect_dask.task_runners import DaskTaskRunner

    if runtime.cluster is not None:
        return DaskTaskRunner(address=runtime.cluster)
    # One thread per process: a worker has the devices of its process to itself.
    local = {"n_workers": runtime.num_workers, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=local)


def _ray_runner(runtime: InferRuntime) -> TaskRunner[Any]:
    # The extra "ray", which is not in the development environment: 200 MB.
    from prefect_ray.task_runners import (  # pyright: ignore[reportMissingImports]
        RayTaskRunner,
    )

    if runtime.cluster is not None:
        return RayTaskRunner(address=runtime.cluster)
    return RayTaskRunner(init_kwargs={"num_cpus": runtime.num_workers, "include_dashboard": False})
