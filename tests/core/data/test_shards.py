"""Work divided among processes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.data.shards import Shard
from recap_core.errors import ConfigError


@settings(max_examples=30)
@given(share=st.integers(1, 6), num_processes=st.integers(1, 6))
def test_rows_of_all_processes_are_the_batch(share: int, num_processes: int) -> None:
    """In order, each row once, equal shares."""
    batch = np.arange(share * num_processes)

    parts = [batch[Shard(i, num_processes).rows(len(batch))] for i in range(num_processes)]

    assert {len(part) for part in parts} == {share}
    np.testing.assert_array_equal(np.concatenate(parts), batch)


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(1, 50), max_size=12), num_processes=st.integers(1, 5))
def test_episodes_of_all_processes_are_the_dataset(lengths: list[int], num_processes: int) -> None:
    """In order, each episode once; no share is off by more than the longest episode."""
    ranges = [
        Shard(i, num_processes).episodes(np.array(lengths, np.int64)) for i in range(num_processes)
    ]

    assert [episode for part in ranges for episode in part] == list(range(len(lengths)))
    for part in ranges:
        fair = sum(lengths) / num_processes
        assert abs(sum(lengths[e] for e in part) - fair) <= max(lengths, default=0)


@pytest.mark.parametrize(
    ("shard", "message"),
    [(Shard(0, 3), "batch_size is 8, which 3 processes"), (Shard(2, 2), "process 2 of 2")],
)
def test_an_impossible_share_is_an_error(shard: Shard, message: str) -> None:
    """Eight rows for three processes; a process that does not exist."""
    with pytest.raises(ConfigError, match=message):
        shard.rows(8)
