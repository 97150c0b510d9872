"""Frames in shuffled blocks of episodes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.data.block_order import BlockOrder

LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=9)


def order(lengths: list[int], *, batch: int = 4, block: int = 2, seed: int = 5) -> BlockOrder:
    """One pool of all frames."""
    frames = np.arange(sum(lengths))
    return BlockOrder([(frames, batch)], np.cumsum(lengths), block_episodes=block, seed=seed)


@settings(max_examples=30)
@given(
    lengths=LENGTHS, batch=st.integers(1, 11), block=st.integers(1, 4), seed=st.integers(0, 2**32)
)
def test_an_epoch_sees_every_frame_once(
    lengths: list[int], batch: int, block: int, seed: int
) -> None:
    """The batches of any three epochs, one after the other, hold every frame three times."""
    chosen = order(lengths, batch=1, block=block, seed=seed)
    n = sum(lengths)
    for epoch in range(3):
        drawn = [int(chosen.indices(epoch * n + i)[0]) for i in range(n)]
        assert sorted(drawn) == list(range(n))

    by_one = [int(chosen.indices(i)[0]) for i in range(3 * n)]
    wide = order(lengths, batch=batch, block=block, seed=seed)
    for step in range(3 * n // batch):
        batch_frames = sorted(wide.indices(step).tolist())
        assert batch_frames == sorted(by_one[step * batch : (step + 1) * batch])


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    """Asked afresh for step 40, or after all steps before it, the same frames come."""
    lengths = [5, 3, 8, 2, 6]
    walked = [order(lengths).indices(step) for step in range(60)]

    np.testing.assert_array_equal(order(lengths).indices(40), walked[40])
    assert any(order(lengths, seed=6).indices(s).tolist() != walked[s].tolist() for s in range(5))


def test_a_batch_comes_from_few_episodes_at_a_time() -> None:
    """With two episodes per block, half an epoch of four equal ones reads exactly two."""
    chosen = order([6, 6, 6, 6], batch=4, block=2)

    first = np.concatenate([chosen.indices(step) for step in range(3)])

    assert len(set(first // 6)) == 2
    assert first.tolist() != sorted(first.tolist())


def test_epochs_have_other_blocks_and_another_order() -> None:
    """The second epoch is not the first one again."""
    chosen = order([4] * 8, batch=32)

    first, second = chosen.draw(0), chosen.draw(1)

    assert sorted(first.frames.tolist()) == sorted(second.frames.tolist()) == list(range(32))
    assert [chosen.block_frames(b).tolist() for b in first.blocks] != [
        chosen.block_frames(b).tolist() for b in second.blocks
    ]


def test_pools_keep_their_shares_and_their_own_epochs() -> None:
    """One of four frames from a small pool: it goes round more often, and evenly."""
    lengths = [5, 5, 5, 5]
    experts, others = np.array([1, 2, 11]), np.setdiff1d(np.arange(20), [1, 2, 11])
    chosen = BlockOrder([(experts, 1), (others, 3)], np.cumsum(lengths), block_episodes=2, seed=0)

    batches = [chosen.indices(step) for step in range(17)]

    assert all(np.isin(batch, experts).sum() == 1 for batch in batches)
    counts = np.bincount(np.concatenate(batches), minlength=20)
    assert set(counts[others]) == {3}
    assert set(counts[experts]) <= {5, 6}
    assert chosen.num_frames == 20


def test_blocks_name_what_a_batch_needs() -> None:
    """Every frame of a draw is in the block that it names; blocks follow each other."""
    chosen = order([3, 4, 2, 5, 1], batch=6, block=2)

    for step in range(9):
        draw = chosen.draw(step)
        for frame, i in zip(draw.frames, draw.block_index, strict=True):
            assert frame in chosen.block_frames(draw.blocks[i])
        for block, following in zip(draw.blocks, draw.blocks[1:], strict=False):
            assert chosen.after(block) == following
