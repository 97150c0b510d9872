"""Values of a whole dataset with a real, tiny model: exact, resumable, shared."""

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
import xxhash

from recap_core.config.inference import InferRuntime
from recap_core.data.frames import FrameTable
from recap_core.errors import DataError
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueModel
from recap_core.valuation.batch_size import largest_batch
from recap_core.valuation.inference import Inferred, Source, infer_share, infer_values
from recap_core.valuation.observations import Feeding, Frames, Times, inputs_ahead
from recap_core.valuation.prediction import Predictions, ValuePredictor
from recap_core.valuation.shards import ShardFiles, shards
from tests.core.training import robot

CONFIG = robot.train_value_config()
NUM_FRAMES = 46


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    """Four synthetic episodes without images."""
    return robot.dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def params() -> Params:
    """Random parameters."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(ValueModel(CONFIG.value.model).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape, np.float32), shapes)


class _Counting(ValuePredictor):
    """Remembers which frames were predicted, batch by batch."""

    asked: list[list[int]]

    def of_batches(self, observations, batches: Iterable[Frames], **more) -> Iterator[Predictions]:  # noqa: ANN001, ANN003 - as the method that it extends
        def remembered() -> Iterator[Frames]:
            for batch in batches:
                self.asked.append(batch.tolist())
                yield batch

        return super().of_batches(observations, remembered(), **more)


@pytest.fixture(scope="module")
def eight(table: FrameTable, params: Params) -> Source:
    """Eight frames at once."""
    predictor = _Counting(CONFIG.value, params, robot.value_transform(CONFIG.value), batch_size=8)
    predictor.asked = []
    return Source(predictor, predictor.observations(table))


def infer(table: FrameTable, source: Source, work: Path, shard_frames: int = 16) -> Inferred:
    assert isinstance(source.predictor, _Counting)
    source.predictor.asked.clear()
    runtime = InferRuntime(shard_frames=shard_frames, decode_threads=2)
    return infer_values(table, lambda: source, work=work, runtime=runtime)


def test_values_are_those_of_the_model(
    table: FrameTable, params: Params, eight: Source, tmp_path: Path
) -> None:
    """Batched, padded and sharded, every frame gets the value of a single pass."""
    inferred = infer(table, eight, tmp_path)

    inputs = eight.observations(np.arange(NUM_FRAMES))
    expected = np.asarray(jax.jit(ValueModel(CONFIG.value.model).value)(params, inputs))
    assert np.ptp(inferred.values) > 0.01
    np.testing.assert_allclose(inferred.values, expected, atol=1e-6)
    assert inferred.metrics["batch_size"] == 8
    assert inferred.metrics["frames_per_s"] > 0
    assert 0 <= inferred.metrics["fetch_share"] + inferred.metrics["device_share"] <= 1


def test_shards_change_no_bit(table: FrameTable, eight: Source, tmp_path: Path) -> None:
    """Three, six or one: every batch holds the same frames."""
    values = {n: infer(table, eight, tmp_path / str(n), n).values for n in (16, 8, 64)}

    assert values[16].tobytes() == values[8].tobytes() == values[64].tobytes()
    assert len(list((tmp_path / "8").iterdir())) == 6


def test_batch_sizes_change_rounding_only(
    table: FrameTable, params: Params, eight: Source, tmp_path: Path
) -> None:
    """The tolerance that the documentation states for float32 models: 2e-6."""
    transform = robot.value_transform(CONFIG.value)
    other = ValuePredictor(CONFIG.value, params, transform, batch_size=2)
    source = Source(other, other.observations(table))

    values = infer_values(table, lambda: source, work=tmp_path / "two").values

    np.testing.assert_allclose(values, infer(table, eight, tmp_path).values, rtol=0, atol=2e-6)


def test_frames_that_are_not_wanted_are_not_computed(
    table: FrameTable, eight: Source, tmp_path: Path
) -> None:
    """Episode 1 is left out; batches go on across the gap."""
    is_wanted = table.episode_index != 1

    runtime = InferRuntime(shard_frames=16)
    eight.predictor.asked.clear()  # pyright: ignore[reportAttributeAccessIssue] - a _Counting
    values = infer_values(
        table, lambda: eight, work=tmp_path / "some", is_wanted=is_wanted, runtime=runtime
    ).values
    asked = [*eight.predictor.asked]  # pyright: ignore[reportAttributeAccessIssue]

    assert asked[:3] == [[*range(8)], [8, 9, 10, 11, 27, 28, 29, 30], [*range(31, 39)]]
    np.testing.assert_array_equal(np.isnan(values), ~is_wanted)
    every = infer(table, eight, tmp_path / "all").values
    np.testing.assert_allclose(values[is_wanted], every[is_wanted], atol=2e-6)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "empty", "nan"])
def test_only_what_is_damaged_is_inferred_again(
    table: FrameTable, eight: Source, tmp_path: Path, damage: str
) -> None:
    """Of three shards, the second; the values are the same bit by bit."""
    whole = infer(table, eight, tmp_path).values
    path = tmp_path / "0000000016-0000000032.values"
    content = bytearray(path.read_bytes())
    nan = np.full(16, np.nan, "<f4").tobytes()
    damaged = {
        "truncated": content[:-1],
        "altered": content[:5] + bytes([content[5] ^ 1]) + content[6:],
        "empty": b"",
        "nan": nan + xxhash.xxh3_128_digest(nan),
    }
    path.unlink()
    if damage in damaged:
        path.write_bytes(damaged[damage])

    again = infer(table, eight, tmp_path)

    assert eight.predictor.asked == [[*range(16, 24)], [*range(24, 32)]]  # pyright: ignore[reportAttributeAccessIssue]
    assert again.values.tobytes() == whole.tobytes()


def test_finished_work_needs_no_model(table: FrameTable, eight: Source, tmp_path: Path) -> None:
    """Values are put together from shards without loading anything."""
    whole = infer(table, eight, tmp_path).values

    def refuse() -> Source:
        raise AssertionError("the model was loaded")

    again = infer_values(table, refuse, work=tmp_path, runtime=InferRuntime(shard_frames=16))

    assert again.values.tobytes() == whole.tobytes()
    assert again.metrics == {}


def test_a_model_that_gives_no_number_is_refused(
    table: FrameTable, params: Params, tmp_path: Path
) -> None:
    """And no shard is left behind, nor a lock."""
    broken = jax.tree.map(lambda leaf: leaf * np.nan, params)
    transform = robot.value_transform(CONFIG.value)
    predictor = ValuePredictor(CONFIG.value, broken, transform, batch_size=8)
    source = Source(predictor, predictor.observations(table))

    with pytest.raises(DataError, match=r"gives nan for a frame \(46 of 46 .*Train"):
        infer_values(table, lambda: source, work=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_workers_share_the_shards(table: FrameTable, eight: Source, tmp_path: Path) -> None:
    """A shard that another one is at is left to it, and waited for where all are needed."""
    whole = infer(table, eight, tmp_path / "alone", 8).values
    runtime = InferRuntime(shard_frames=8)
    files, work = ShardFiles(tmp_path / "work"), tmp_path / "work"
    parts = shards(NUM_FRAMES, 8)
    claim = files.try_claim(parts[1])
    assert claim is not None

    infer_share(table, lambda: eight, work=work, runtime=runtime)

    assert [files.read(part) is not None for part in parts] == [True, False, *[True] * 4]
    found: list[Inferred] = []
    collect = threading.Thread(
        target=lambda: found.append(infer_values(table, lambda: eight, work=work, runtime=runtime))
    )
    collect.start()
    collect.join(0.3)
    assert collect.is_alive()
    files.write(parts[1], whole[8:16])  # its owner finishes
    claim.release()
    collect.join()
    assert found[0].values.tobytes() == whole.tobytes()


def test_a_dead_workers_shard_is_taken_over(
    table: FrameTable, eight: Source, tmp_path: Path
) -> None:
    """Its lock is free though its lock file is there."""
    whole = infer(table, eight, tmp_path / "alone", 8).values
    work = tmp_path / "work"
    work.mkdir()
    (work / "0000000008-0000000016.lock").write_text("left by a process that was killed")

    found = infer_values(table, lambda: eight, work=work, runtime=InferRuntime(shard_frames=8))

    assert found.values.tobytes() == whole.tobytes()


def test_the_largest_batch_that_fits(eight: Source) -> None:
    """XLA's plan for it fits into the free memory, and the plan for twice as many does not."""
    predictor = eight.predictor
    first = eight.observations(np.arange(1))
    predict, params = predictor._predict, predictor._params

    def inputs_of(rows: int):  # noqa: ANN202 - value inputs
        return predictor._placed(jax.tree.map(lambda x: np.repeat(x[:1], rows, axis=0), first))

    def needed(rows: int) -> int:
        plan = predict.lower(params, inputs_of(rows)).compile().memory_analysis()  # pyright: ignore[reportFunctionMemberAccess] - jitted
        own = sum(leaf.nbytes for leaf in jax.tree.leaves(inputs_of(rows)))
        return plan.temp_size_in_bytes + plan.output_size_in_bytes + 2 * own

    free = int(needed(4) / 0.9) + 100
    assert needed(8) > free

    def chosen(free_bytes: int | None) -> int:
        return largest_batch(
            predict, (params, inputs_of), mesh=predictor._mesh, most=8, free_bytes=free_bytes
        )

    assert chosen(free) == 4
    assert chosen(None) == 8, "on a CPU, whose memory is not asked for"


def test_inputs_are_made_ahead_and_errors_arrive(eight: Source) -> None:
    """Three threads and two that wait: five batches are begun before the first is used."""
    begun: list[int] = []

    class Noting:
        num_cameras = 0

        def __call__(self, frames: Frames):  # noqa: ANN204 - value inputs
            begun.append(int(frames[0]))
            if frames[0] == 7:
                raise DataError("frame 7 is broken")
            return eight.observations(frames)

    batches = [np.array([i]) for i in range(10)]
    found = inputs_ahead(Noting(), batches, Feeding(3, 2), Times())
    frames, _ = next(found)
    assert frames.tolist() == [0]
    with pytest.raises(DataError, match="frame 7"):
        assert [int(frames[0]) for frames, _ in found] == []
    assert sorted(begun) == list(range(len(begun)))
