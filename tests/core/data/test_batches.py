"""Which frames a batch holds."""

from pathlib import Path

import numpy as np
import pytest

from recap_core.config.dataset import ConvertConfig
from recap_core.config.training import SamplingConfig
from recap_core.data.batches import (
    FrameOrder,
    FramesInOrder,
    action_chunks,
    frame_sampler,
    split_episodes,
)
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.merge import merge_datasets
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.errors import DataError


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> FrameTable:
    """Frames 0-9 are a demonstration; 28-30 and 41-42 corrections; 40 is paused."""
    root = tmp_path_factory.mktemp("batches")
    write_synthetic_dataset(
        root / "demonstrations",
        [SyntheticEpisode(length=10, demonstration=True)],
        SyntheticRobot(environment_dims=3),
        config=ConvertConfig(demonstrations=True),
    )
    merge_datasets([root / "demonstrations", dataset], root / "merged")
    return read_frames(root / "merged")


def drawn(sampler: FrameOrder, steps: int = 200) -> np.ndarray:
    return np.concatenate([sampler.indices(step) for step in range(steps)])


def sampler(table: FrameTable, **options: object) -> FrameOrder:
    return frame_sampler(table, SamplingConfig.model_validate(options), batch_size=8, seed=1)


def test_a_batch_depends_on_seed_and_step_alone(table: FrameTable) -> None:
    """A new sampler at step 70 draws what the old one did; other seeds and steps draw others."""
    one, again = sampler(table), sampler(table)
    other = frame_sampler(table, SamplingConfig(), batch_size=8, seed=2)

    np.testing.assert_array_equal(one.indices(70), again.indices(70))
    assert one.indices(70).tolist() != one.indices(71).tolist()
    assert one.indices(70).tolist() != other.indices(70).tolist()


def test_all_frames_are_drawn_alike_but_paused_ones(table: FrameTable) -> None:
    """Uniform over the 55 frames on which time passes."""
    frames = drawn(sampler(table), 2000)

    counts = np.bincount(frames, minlength=56)
    assert counts[40] == 0
    expected = len(frames) / 55
    assert (np.abs(np.delete(counts, 40) - expected) < 5 * np.sqrt(expected)).all()


def test_paused_frames_may_count_as_autonomous(table: FrameTable) -> None:
    """As the reference does."""
    chosen = frame_sampler(
        table, SamplingConfig(), batch_size=8, seed=1, paused_frames="autonomous"
    )

    assert 40 in drawn(chosen)


def test_half_of_every_batch_from_experts(table: FrameTable) -> None:
    """Exactly, in every batch: demonstrations and corrections against the rest."""
    chosen = sampler(table, expert_fraction=0.5)

    for step in range(50):
        assert table.is_intervention[chosen.indices(step)].sum() == 4


@pytest.mark.parametrize(
    ("frames", "expected"),
    [("expert", {*range(10), 28, 29, 30, 41, 42}), ("demonstrations", set(range(10)))],
)
def test_frames_of_one_kind(table: FrameTable, frames: str, expected: set[int]) -> None:
    """Only what a human drove, or only episodes that a human drove throughout."""
    chosen = sampler(table, frames=frames, expert_fraction=0.5)

    assert set(drawn(chosen).tolist()) == expected
    assert chosen.num_frames == len(expected)


def test_a_split_keeps_to_its_episodes(table: FrameTable) -> None:
    """Frames of other episodes are never drawn."""
    chosen = frame_sampler(table, SamplingConfig(), batch_size=8, seed=1, episodes=np.array([0, 4]))

    assert set(table.episode_index[drawn(chosen)]) == {0, 4}


def test_nothing_to_draw_is_an_error(table: FrameTable) -> None:
    """An episode without experts, asked for experts."""
    with pytest.raises(DataError, match="no frame is left to train on"):
        frame_sampler(
            table,
            SamplingConfig(frames="expert"),
            batch_size=8,
            seed=1,
            episodes=np.array([4]),
        )


def test_chunks_repeat_the_last_action_of_the_episode() -> None:
    """Two episodes of 3 and 2 frames, horizon 3, by hand."""
    actions = np.arange(5, dtype=np.float32)[:, None]

    chunks, is_pad = action_chunks(actions, np.array([3, 5]), np.array([0, 2, 3]), horizon=3)

    assert chunks[..., 0].tolist() == [[0, 1, 2], [2, 2, 2], [3, 4, 4]]
    assert is_pad.tolist() == [[False] * 3, [False, True, True], [False, False, True]]


def test_eight_to_one_to_one() -> None:
    """Disjoint, complete, reproducible; ten episodes are 8, 1 and 1."""
    split = split_episodes(10)

    assert [len(part) for part in split] == [8, 1, 1]
    assert sorted(np.concatenate(split).tolist()) == list(range(10))
    assert [part.tolist() for part in split_episodes(10)] == [part.tolist() for part in split]
    assert split_episodes(10, seed=7).test.tolist() != split.test.tolist()


def test_the_split_is_the_reference_s() -> None:
    """Sorted ids under RandomState(42).shuffle, cut at int(0.8 n) and int(0.1 n) (SPEC §15)."""
    ids = list(range(37))
    np.random.RandomState(42).shuffle(ids)

    split = split_episodes(37)

    assert [part.tolist() for part in split] == [
        sorted(ids[:29]), sorted(ids[29:32]), sorted(ids[32:])
    ]  # fmt: skip


def test_frames_in_order_are_all_there_once() -> None:
    """Seven frames in batches of three: the last one is filled up with its last frame."""
    order = FramesInOrder(np.array([2, 3, 5, 7, 8, 9, 20]), batch_size=3)

    assert order.num_batches == 3
    assert [order.indices(step).tolist() for step in range(3)] == [
        [2, 3, 5], [7, 8, 9], [20, 20, 20]
    ]  # fmt: skip


def test_few_episodes_may_leave_no_validation() -> None:
    """int(0.1 * 9) is 0; the test set takes the rest."""
    assert [len(part) for part in split_episodes(9)] == [7, 0, 2]


def test_copies_of_an_episode_stay_together() -> None:
    """Six episodes, three of them twice: nothing is tested on a copy of what was trained on."""
    originals = np.array([0, 1, 2, 3, 4, 5, 0, 1, 2])

    split = split_episodes(9, ratios=(0.5, 0.0, 0.5), originals=originals)

    assert sorted(np.concatenate(split).tolist()) == list(range(9))
    assert not set(originals[split.train]) & set(originals[split.test])
    assert len(set(originals[split.train])) == 3


def test_ratios_must_be_shares() -> None:
    """0.8 + 0.1 + 0.2 is more than everything."""
    with pytest.raises(ValueError, match="sum to 1"):
        split_episodes(10, ratios=(0.8, 0.1, 0.2))
