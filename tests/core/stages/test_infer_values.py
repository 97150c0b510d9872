"""Values as an artifact: which frames, on which devices, by which workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recap_core.config.inference import InferRuntime
from recap_core.config.labels import LabelConfig
from recap_core.config.stages import InferValuesConfig
from recap_core.data import frames
from recap_core.errors import ConfigError, IncompatibleError
from recap_core.lineage.artifacts import Values
from recap_core.stages.infer_values import infer_value_shards, infer_values
from recap_core.stages.label import label_dataset
from recap_core.valuation.values import read_values
from tests.core.stages.value_inference import Inputs, store_inputs

RUNTIME = InferRuntime(batch_size=4, shard_frames=8)
EVERY, ROLLOUTS = InferValuesConfig(), InferValuesConfig(frames="rollouts")
NUM_FRAMES = 40


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Forty frames, of which 12-21 are a demonstration."""
    return store_inputs(tmp_path / "home")


def infer(inputs: Inputs, config: InferValuesConfig, runtime: InferRuntime = RUNTIME) -> Values:
    dataset, model, store = inputs
    return infer_values(dataset, model, config, runtime, name="values", store=store)


def infer_bytes(inputs: Inputs, runtime: InferRuntime) -> bytes:
    """Content of ``values.npy``, inferred anew."""
    values = infer(inputs, EVERY, runtime)
    content = (inputs.store.path(values) / "values.npy").read_bytes()
    inputs.store.remove(values)
    return content


def test_demonstrations_need_no_values(inputs: Inputs) -> None:
    """They are NaN, the artifact says so, and a rule that needs them names the next step."""
    values = infer(inputs, ROLLOUTS)

    found = read_values(inputs.store.path(values))
    assert np.flatnonzero(np.isnan(found)).tolist() == [*range(12, 22)]
    assert (values.num_frames, values.frames, values.num_missing) == (NUM_FRAMES, "rollouts", 10)
    metrics = inputs.store.manifest(values).metrics
    assert metrics["min"] == pytest.approx(np.nanmin(found))
    assert metrics["batch_size"] == 4

    labels = label_dataset(
        inputs.dataset, values, LabelConfig(lookahead=4), name="labels", store=inputs.store
    )
    assert labels.num_frames == NUM_FRAMES
    everyone = LabelConfig(lookahead=4, pool="all")
    with pytest.raises(IncompatibleError, match=r"leave out demonstrations \(10 of 40.*--frames"):
        label_dataset(inputs.dataset, values, everyone, name="labels", store=inputs.store)
    assert ROLLOUTS.for_labels(everyone) == EVERY
    assert ROLLOUTS.for_labels(LabelConfig()) == ROLLOUTS


def test_workers_leave_shards_and_the_stage_publishes_them(inputs: Inputs) -> None:
    """Whatever worker made a shard, the bytes are those of a run alone."""
    dataset, model, store = inputs
    alone = infer_bytes(inputs, RUNTIME)
    runtime = RUNTIME.model_copy(update={"num_workers": 2})

    speeds = [
        infer_value_shards(dataset, model, EVERY, runtime, worker=worker, store=store)
        for worker in range(2)
    ]

    assert speeds[0]["batch_size"] == 4
    assert speeds[1] == {}, "the first one left nothing to do"
    values = infer(inputs, EVERY, runtime)
    assert (store.path(values) / "values.npy").read_bytes() == alone
    assert "batch_size" not in store.manifest(values).metrics, "nothing was computed again"
    assert not list((store.home / "work").iterdir())
    # Once there are values, a worker that comes late finds nothing to do, and leaves nothing.
    assert infer_value_shards(dataset, model, EVERY, runtime, worker=1, store=store) == {}
    assert not list((store.home / "work").iterdir())


def test_a_worker_that_comes_late_does_not_start_over(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values are published after it looked for them, while it reads the dataset."""
    dataset, model, store = inputs
    read, published = frames.read_frames, []

    def published_first(directory: Path) -> frames.FrameTable:
        with monkeypatch.context() as patch:
            patch.setattr(frames, "read_frames", read)
            published.append(infer(inputs, EVERY))
        return read(directory)

    with monkeypatch.context() as patch:
        patch.setattr(frames, "read_frames", published_first)
        speed = infer_value_shards(dataset, model, EVERY, RUNTIME, worker=0, store=store)

    assert (speed, len(published)) == ({}, 1)
    assert not list((store.home / "work").iterdir())


def test_what_cannot_run_is_refused(inputs: Inputs) -> None:
    """Devices that are not there, and sizes that do not fit together."""
    with pytest.raises(ConfigError, match="num_devices is 99, but there are"):
        infer(inputs, EVERY, RUNTIME.model_copy(update={"num_devices": 99}))
    with pytest.raises(ValueError, match="must be a power of two, such as 32"):
        InferRuntime(batch_size=48)
    with pytest.raises(ValueError, match=r"batch_size \(64\) must not exceed shard_frames \(32\)"):
        InferRuntime(batch_size=64, shard_frames=32)
    with pytest.raises(ValueError, match="set task_runner to dask or ray"):
        InferRuntime(cluster="tcp://somewhere:8786")


def on_four_devices(home: Path) -> None:
    """What the test below runs in a process that has four devices."""
    inputs = store_inputs(home)
    one, all_ = (RUNTIME.model_copy(update={"num_devices": n}) for n in (1, None))
    same = infer_bytes(inputs, one) == infer_bytes(inputs, all_)
    devices = [worker_devices(all_, worker) for worker in range(3)]
    sys.stdout.write(json.dumps([same, devices]))


def worker_devices(runtime: InferRuntime, worker: int) -> list[int]:
    from recap_core.stages.infer_values import _devices

    shared = runtime.model_copy(update={"num_workers": 3})
    return [device.id for device in _devices(shared, worker=worker)]


def test_devices_change_no_bit(tmp_path: Path) -> None:
    """One device or four, at the same batch per device; worker threads divide them."""
    code = (
        "from pathlib import Path; from tests.core.stages.test_infer_values import on_four_devices;"
        f"on_four_devices(Path({str(tmp_path)!r}))"
    )
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, [[0, 3], [1], [2]]]
