"""RLinf's sidecars."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.config.interchange import ExportLabelsConfig
from recap_core.data.frames import FrameTable
from recap_core.data.interchange.exchanged import ExchangedLabels
from recap_core.data.interchange.rlinf import (
    read_rlinf,
    read_rlinf_returns,
    rlinf_returns,
    write_rlinf,
)
from recap_core.errors import ColumnError, DataError
from tests.core.data.interchange import made_up
from tests.core.data.interchange.made_up import NUM_FRAMES


def sidecar(table: FrameTable) -> dict[str, np.ndarray]:
    """The columns of ``compute_advantages.py``, in its order and types."""
    advantage = np.linspace(-1, 1, NUM_FRAMES)
    return {
        **made_up.keys(table),
        "advantage_continuous": advantage,
        "return": np.full(NUM_FRAMES, -5.0),
        "value_current": np.linspace(-1, 0, NUM_FRAMES),
        "value_next": np.linspace(-1, 0, NUM_FRAMES),
        "reward_sum": np.full(NUM_FRAMES, -0.01),
        "reward_sum_raw": np.full(NUM_FRAMES, -10.0),
        "num_valid_rewards": np.full(NUM_FRAMES, 10),
        "dataset_name": np.full(NUM_FRAMES, "libero"),
        "advantage": advantage >= 0.4,
    }


def write(table: FrameTable, root: Path, found: ExchangedLabels, **options: object) -> Path:
    config = ExportLabelsConfig.model_validate({"tool": "rlinf", **options})
    write_rlinf(root, table, found, config, dataset_name="cubes")
    return root


def test_a_sidecar_of_rlinfs_is_read(table: FrameTable, tmp_path: Path) -> None:
    """Booleans become labels; the number and V are kept; other columns are not needed."""
    columns = sidecar(table)
    made_up.write_parquet(tmp_path / "meta/advantages_n10.parquet", columns)

    found = read_rlinf(tmp_path, table, tag="n10")

    np.testing.assert_array_equal(found.labels.adv_ind, 1 + columns["advantage"])
    np.testing.assert_array_equal(
        found.labels.advantage, columns["advantage_continuous"].astype(np.float32)
    )
    assert found.values is not None
    np.testing.assert_array_equal(found.values, columns["value_current"].astype(np.float32))
    assert set(found.labels.rank.tolist()) == {-1}


def test_rows_may_come_in_any_order(table: FrameTable, tmp_path: Path) -> None:
    """Several processes write their shards one after the other."""
    order = np.random.default_rng(0).permutation(NUM_FRAMES)
    columns = sidecar(table)
    straight = made_up.write_parquet(tmp_path / "a.parquet", columns)
    shuffled = {name: values[order] for name, values in columns.items()}
    mixed = made_up.write_parquet(tmp_path / "b.parquet", shuffled)

    made_up.assert_same(read_rlinf(mixed, table), read_rlinf(straight, table))


def test_labels_alone_are_enough(table: FrameTable, tmp_path: Path) -> None:
    """RLinf trains on three columns; then there is no advantage and no value."""
    columns = {**made_up.keys(table), "advantage": np.ones(NUM_FRAMES, dtype=bool)}

    found = read_rlinf(made_up.write_parquet(tmp_path / "a.parquet", columns), table)

    assert np.isnan(found.labels.advantage).all()
    assert found.values is None


@settings(max_examples=20)
@given(
    adv_ind=made_up.codes(1),
    advantage=st.none() | made_up.numbers(-3, 3),
    values=st.none() | made_up.numbers(-1, 0),
    tag=st.sampled_from([None, "q30", "fail300_N10"]),
)
def test_what_is_written_is_read_again(
    table: FrameTable,
    adv_ind: np.ndarray,
    advantage: np.ndarray | None,
    values: np.ndarray | None,
    tag: str | None,
) -> None:
    """Labels, and advantage and value where there are any, bit by bit."""
    given_labels = made_up.labels(adv_ind, advantage, values)
    with tempfile.TemporaryDirectory() as scratch:
        root = write(table, Path(scratch), given_labels, tag=tag)

        made_up.assert_same(read_rlinf(root, table, tag=tag), given_labels)


def test_the_file_has_the_types_that_rlinf_writes(table: FrameTable, tmp_path: Path) -> None:
    """64 bits for numbers and a boolean label, in RLinf's order."""
    write(table, tmp_path, made_up.alternating(), tag="t", failure_reward=-300.0)

    schema = pq.read_schema(tmp_path / "meta/advantages_t.parquet")
    returns = pq.read_schema(tmp_path / "meta/returns_t.parquet")

    assert [(field.name, str(field.type)) for field in schema] == [
        ("episode_index", "int64"),
        ("frame_index", "int64"),
        ("advantage_continuous", "double"),
        ("return", "double"),
        ("value_current", "double"),
        ("dataset_name", "string"),
        ("advantage", "bool"),
    ]
    assert [(field.name, str(field.type)) for field in returns] == [
        ("episode_index", "int64"),
        ("frame_index", "int64"),
        ("return", "float"),
        ("reward", "float"),
        ("prompt", "string"),
    ]


def test_returns_count_frames_and_end_with_the_failure_reward(
    table: FrameTable, tmp_path: Path
) -> None:
    """Backwards from the end: a success of 12 frames from -11, a failure of 10 from -309."""
    write(table, tmp_path, made_up.alternating(), failure_reward=-300.0)

    found = read_rlinf_returns(tmp_path, table)
    prompts = pq.read_table(tmp_path / "meta/returns.parquet").column("prompt").to_pylist()

    assert found.returns[:12].tolist() == list(range(-11, 1))
    assert found.rewards[:12].tolist() == [-1.0] * 11 + [0.0]
    assert found.returns[27:37].tolist() == list(range(-309, -299))
    assert found.rewards[36] == -300
    assert (prompts[0], prompts[-1]) == ("transfer cube", "insert peg")
    for ours, theirs in zip(rlinf_returns(table, failure_reward=-300.0), found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_frames_that_do_not_match_are_counted_and_named(table: FrameTable, tmp_path: Path) -> None:
    """Missing, unknown and repeated frames, all in one message."""
    columns = sidecar(table)
    columns["frame_index"][[3, 4]] = [99, 99]
    columns["episode_index"][20] = 7
    columns["frame_index"][30] = 2
    path = made_up.write_parquet(tmp_path / "a.parquet", columns)

    with pytest.raises(ColumnError) as caught:
        read_rlinf(path, table)

    assert "4 of 46 frames are missing (first: episode 0, frame 3)" in str(caught.value)
    assert "3 of 46 rows are of no frame (first: row 3, episode 0, frame 99)" in str(caught.value)
    assert "1 of 46 frames have several rows (first: episode 2, frame 2)" in str(caught.value)


def _nan(columns: dict[str, np.ndarray]) -> None:
    columns["advantage_continuous"][5] = np.nan


def _infinite(columns: dict[str, np.ndarray]) -> None:
    columns["advantage_continuous"][5] = np.inf


def _too_large(columns: dict[str, np.ndarray]) -> None:
    columns["advantage_continuous"][5] = 1e300


def _value_above_zero(columns: dict[str, np.ndarray]) -> None:
    columns["value_current"][5] = 0.2


def _value_nan(columns: dict[str, np.ndarray]) -> None:
    columns["value_current"][5] = np.nan


def _float_label(columns: dict[str, np.ndarray]) -> None:
    columns["advantage"] = columns["advantage_continuous"]


def _int_label(columns: dict[str, np.ndarray]) -> None:
    columns["advantage"] = columns["advantage"].astype(np.int64)


def _no_label(columns: dict[str, np.ndarray]) -> None:
    del columns["advantage"]


def _float_frames(columns: dict[str, np.ndarray]) -> None:
    columns["frame_index"] = columns["frame_index"].astype(np.float64)


def _text_advantage(columns: dict[str, np.ndarray]) -> None:
    columns["advantage_continuous"] = np.full(NUM_FRAMES, "0.1")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_nan, "advantage of frame 5 in .* is nan, but it must be a finite number"),
        (_infinite, "advantage of frame 5 in .* is inf"),
        (_too_large, r"advantage of frame 5 in .* is 1e\+300"),
        (_value_above_zero, r"value of frame 5 in .* is 0.2, but it must lie in \[-1, 0\]"),
        (_value_nan, "value of frame 5 in .* is nan"),
        (_float_label, "advantage of .* has type float64, but RLinf's labels are booleans"),
        (_int_label, "has type int64, but RLinf's labels are booleans"),
        (_no_label, "has no column advantage; it has episode_index, frame_index"),
        (_float_frames, "frame_index of .* has type float64 .* one integer per row"),
        (_text_advantage, "advantage_continuous of .* must be a floating point number"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_malformed_sidecar_is_refused(
    table: FrameTable, tmp_path: Path, damage: object, message: str
) -> None:
    """One clear error each."""
    columns = sidecar(table)
    assert callable(damage)
    damage(columns)
    path = made_up.write_parquet(tmp_path / "a.parquet", columns)

    with pytest.raises(ColumnError, match=message):
        read_rlinf(path, table)


def test_empty_cells_are_refused(table: FrameTable, tmp_path: Path) -> None:
    """That is how pandas writes NaN."""
    columns = sidecar(table)
    columns["advantage_continuous"][7] = np.nan
    arrays = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), tmp_path / "a.parquet")

    with pytest.raises(ColumnError, match=r"empty or NaN in 1 of 46 rows \(first: row 7\)"):
        read_rlinf(tmp_path / "a.parquet", table)


def test_a_missing_tag_names_what_there_is(table: FrameTable, tmp_path: Path) -> None:
    """And a truncated file is no labels."""
    made_up.write_parquet(tmp_path / "meta/advantages_n10.parquet", sidecar(table))
    broken = tmp_path / "broken.parquet"
    broken.write_bytes((tmp_path / "meta/advantages_n10.parquet").read_bytes()[:200])

    with pytest.raises(DataError, match=r"meta/ has advantages_n10.parquet"):
        read_rlinf(tmp_path, table)
    with pytest.raises(DataError, match="cannot be read"):
        read_rlinf(broken, table)


def test_what_a_boolean_cannot_hold_is_refused_until_it_is_decided(
    table: FrameTable, tmp_path: Path
) -> None:
    """Frames without a label, and frames without an advantage."""
    adv_ind = np.full(NUM_FRAMES, 2, dtype=np.int8)
    adv_ind[[8, 9]] = 0
    advantage = np.zeros(NUM_FRAMES, dtype=np.float32)
    advantage[8] = np.nan
    gaps = made_up.labels(adv_ind, advantage)

    with pytest.raises(ColumnError, match=r"2 of 46 frames are labelled none \(first: frame 8\)"):
        write(table, tmp_path, gaps)
    with pytest.raises(ColumnError, match=r"1 of 46 frames have no advantage \(first: frame 8\)"):
        write(table, tmp_path, gaps, none_as="negative")
    write(table, tmp_path, gaps, none_as="negative", fill_advantage=-9.0)

    found = read_rlinf(tmp_path, table)
    assert found.labels.adv_ind[7:11].tolist() == [2, 1, 1, 2]
    assert found.labels.advantage[7:10].tolist() == [0, -9, 0]
