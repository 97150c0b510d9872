"""Values inferred by several workers are those of one process, byte by byte."""

import importlib.util
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from flows import values as flows_values
from flows.values import task_runner, values_of
from recap_core.config.inference import InferRuntime
from recap_core.config.stages import InferValuesConfig
from recap_core.errors import ConfigError
from recap_core.stages.infer_values import infer_values
from tests.core.stages.value_inference import Inputs, store_inputs

pytestmark = [
    pytest.mark.slow,
    # Prefect leaves clients of finished runs to the garbage collector, and so does Dask.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("own_garbage"),
]
CONFIG = InferValuesConfig(frames="rollouts")
ALONE = InferRuntime(isolation="inline", batch_size=4, shard_frames=4)


def content(inputs: Inputs, runtime: InferRuntime) -> tuple[bytes, dict]:
    """Bytes of ``values.npy`` and the metrics, as a flow makes them; then they are removed."""
    dataset, model, store = inputs
    values = values_of(dataset, model, CONFIG, runtime, name="shared")
    found = (store.path(values) / "values.npy").read_bytes(), dict(store.manifest(values).metrics)
    store.remove(values)
    return found


@pytest.mark.parametrize("runner", ["threads", "dask", "ray"])
def test_workers_give_the_values_of_one_process(
    prefect_api: None, recap_home: Path, runner: str
) -> None:
    """Two workers make all shards, and the flow only puts them together."""
    del prefect_api
    if importlib.util.find_spec(f"prefect_{runner}") is None and runner != "threads":
        pytest.skip(f"prefect-{runner} is not installed: pip install 'recap[{runner}]'")
    inputs = store_inputs(recap_home, length=16)
    dataset, model, store = inputs
    values = infer_values(dataset, model, CONFIG, ALONE, name="alone", store=store)
    alone = (store.path(values) / "values.npy").read_bytes()
    store.remove(values)
    changes = {"num_workers": 2, "task_runner": runner}
    runtime = InferRuntime.model_validate(ALONE.model_dump() | changes)

    shared, metrics = content(inputs, runtime)

    assert shared == alone
    assert "batch_size" not in metrics, "the flow's own process computed a shard"


def test_values_that_exist_start_no_worker(
    prefect_api: None, recap_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cluster is started, and no flow."""
    del prefect_api
    dataset, model, store = store_inputs(recap_home)
    made = infer_values(dataset, model, CONFIG, ALONE, name="alone", store=store)
    runtime = ALONE.model_copy(update={"num_workers": 2, "task_runner": "dask"})

    def refuse(runtime: InferRuntime) -> None:
        raise AssertionError(f"a runner was made: {runtime}")

    monkeypatch.setattr(flows_values, "task_runner", refuse)
    assert values_of(dataset, model, CONFIG, runtime, name="again") == made
    with get_client(sync_client=True) as client:
        names = {run.name for run in client.read_flow_runs()}
    assert "infer-values-again" not in names


def test_a_runner_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    for name in ("prefect_ray", "prefect_ray.task_runners"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ConfigError, match=r"task_runner is ray.*pip install 'recap\[ray\]'"):
        task_runner(InferRuntime(num_workers=2, task_runner="ray"))
