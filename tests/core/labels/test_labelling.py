"""Labelling a whole dataset."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_core.errors import ColumnError
from recap_core.labels.adv_ind import decode_adv_ind
from recap_core.labels.advantage import TailRule, n_step_advantage
from recap_core.labels.choice import ThresholdRule
from recap_core.labels.labelling import Frames, LabelResult, LabelRule, label_frames
from recap_core.labels.targets import Episodes

_OF_THRESHOLD = set(ThresholdRule._fields)


def labelled(frames: Frames, episodes: Episodes, **options: object) -> LabelResult:
    """Label with the default rule but for some options, those of the threshold among them."""
    own = {key: value for key, value in options.items() if key in _OF_THRESHOLD}
    rest = {key: value for key, value in options.items() if key not in _OF_THRESHOLD}
    threshold = ThresholdRule()._replace(**own)
    return label_frames(frames, episodes, LabelRule(threshold=threshold)._replace(**rest))


def dataset(
    lengths: list[int],
    *,
    values: np.ndarray | None = None,
    success: list[bool] | None = None,
    tasks: list[int] | None = None,
    rounds: list[int] | None = None,
    interventions: tuple[int, ...] = (),
    paused: tuple[int, ...] = (),
    adv_ind: np.ndarray | None = None,
) -> tuple[Frames, Episodes]:
    """Arrays of a dataset; frames are autonomous unless listed."""
    n, e = sum(lengths), len(lengths)
    is_intervention, is_paused = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    is_intervention[list(interventions)] = True
    is_paused[list(paused)] = True
    if values is None:
        values = np.random.default_rng(0).uniform(-1, 0, n).astype(np.float32)
    frames = Frames(
        values,
        is_intervention,
        is_paused,
        np.zeros(n, dtype=np.int8) if adv_ind is None else adv_ind,
    )
    return frames, Episodes(
        np.array(lengths),
        np.array(success or [True] * e),
        np.array(tasks or [0] * e),
        np.array(rounds or [1] * e),
    )


def test_a_hand_computed_dataset() -> None:
    """Two episodes of three frames, N = 1, reference targets, half of the frames positive."""
    frames, episodes = dataset(
        [3, 3],
        values=np.array([-0.9, -0.4, -0.1, -0.9, -0.9, -1.0]),
        success=[True, False],
        interventions=(4,),
    )

    result = labelled(
        frames, episodes, lookahead=1, share=0.5, target_rule="reference", pool="autonomous"
    )

    third = 1 / 3
    np.testing.assert_allclose(
        result.advantage,
        [0.5 - third, 0.3 - third, 0.0, 0.0 - third, -0.1 - third, 0.0],
        atol=1e-7,
    )
    # The pool has five frames, so floor(4 * 0.5) + 1 = 3 of them are positive.
    assert decode_adv_ind(result.adv_ind).tolist() == [
        *("positive", "negative", "positive"),
        *("negative", "positive", "positive"),
    ]
    assert result.choice.rank.tolist() == [0, 3, 1, 4, -1, 2]
    assert result.choice.threshold[0] == 0.0
    assert result.counts == {"none": 0, "negative": 2, "positive": 4}
    assert result.choice.autonomous_positive_share == 0.6


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    lookahead=st.one_of(st.none(), st.integers(1, 15)),
    tail=st.sampled_from(["last_value", "zero", "outcome"]),
    cut=st.booleans(),
)
def test_the_dataset_pass_equals_one_episode_at_a_time(
    lengths: list[int], seed: int, lookahead: int | None, tail: TailRule, *, cut: bool
) -> None:
    """Vectorised over episodes, paused frames and takeovers: the same as episode by episode."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    phase = rng.integers(0, 3, n)
    frames, episodes = dataset(
        lengths,
        values=rng.uniform(-1, 0, n),
        success=rng.integers(0, 2, len(lengths)).astype(bool).tolist(),
        interventions=tuple(np.flatnonzero(phase == 1)),
        paused=tuple(np.flatnonzero(phase == 2)),
    )

    result = labelled(
        frames,
        episodes,
        lookahead=lookahead,
        target_rule="fixed_limit",
        limit_frames=20,
        tail=tail,
        cut_at_takeover=cut,
        pool="autonomous",
    )

    start = 0
    for length, success in zip(lengths, episodes.success, strict=True):
        part = slice(start, start + length)
        start += length
        active = np.flatnonzero(phase[part] != 2)
        if not active.size:
            assert np.isnan(result.advantage[part]).all()
            continue
        values = frames.values[part]
        rewards = np.where(np.arange(length) == active[-1], 0.0, -1 / 20)
        end = {
            "last_value": 0.0 if lookahead is None else values[active[-1]],
            "zero": 0.0,
            "outcome": 0.0 if success else -1.0,
        }[tail]
        expected = n_step_advantage(
            rewards,
            values,
            lookahead=lookahead,
            end_value=float(end),
            takeovers=phase[part] == 1 if cut else None,
            is_skipped=phase[part] == 2,
        )
        np.testing.assert_allclose(result.advantage[part], expected, atol=1e-6)


def test_the_tail_of_a_failure_is_not_promoted() -> None:
    """A failed episode at V = -0.97: only the ``zero`` tail lifts its last N frames to the top."""
    lengths = [900, 900]
    values = np.concatenate([-np.linspace(1, 0, 900), np.full(900, -0.97)])
    frames, episodes = dataset(lengths, values=values, success=[True, False])
    tail = slice(1_750, 1_800)

    by_tail = {
        rule: labelled(
            frames, episodes, target_rule="reference", tail=rule, pool="autonomous", share=0.3
        )
        for rule in ("last_value", "zero", "outcome")
    }

    assert by_tail["zero"].advantage[tail].min() > 0.9
    np.testing.assert_allclose(by_tail["last_value"].advantage[1_750], -49 / 900, atol=1e-6)
    assert by_tail["last_value"].advantage[tail].max() <= 0
    assert by_tail["outcome"].advantage[tail].max() < 0
    assert (by_tail["zero"].adv_ind[tail] == 2).all()
    assert (by_tail["outcome"].adv_ind[tail] == 1).all()


def test_exactly_the_share_of_every_task() -> None:
    """Two tasks of different quality, one threshold each; one global threshold favours one."""
    values = np.linspace(-1, 0, 60)
    values[30:] = -0.5
    frames, episodes = dataset([30, 30], values=values, tasks=[0, 1])

    per_task = labelled(frames, episodes, lookahead=5, target_rule="reference", pool="autonomous")
    overall = labelled(
        frames, episodes, lookahead=5, target_rule="reference", pool="autonomous", scope="dataset"
    )

    # floor(29 * 0.4) + 1 = 12 of 30; floor(59 * 0.4) + 1 = 24 of 60.
    assert [(per_task.adv_ind[part] == 2).sum() for part in (slice(30), slice(30, 60))] == [12, 12]
    assert (overall.adv_ind == 2).sum() == 24
    assert (overall.adv_ind[:30] == 2).sum() > 12
    assert (len(per_task.choice.threshold), len(overall.choice.threshold)) == (2, 1)


def test_equal_advantages_keep_the_share() -> None:
    """A constant value model makes the earliest frames positive, not all of them."""
    frames, episodes = dataset([51], values=np.full(51, -0.5))

    result = labelled(
        frames,
        episodes,
        lookahead=1,
        target_rule="fixed_limit",
        limit_frames=10**9,
        pool="autonomous",
    )

    assert (result.adv_ind == 2).sum() == 21
    assert result.choice.autonomous_positive_share == 21 / 51


def test_the_latest_round_sets_the_threshold_for_all() -> None:
    """Earlier rounds are judged by the latest round's threshold."""
    better, worse = np.linspace(-0.2, 0, 10), np.linspace(-1, -0.9, 10)
    frames, episodes = dataset([10, 10], values=np.concatenate([better, worse]), rounds=[1, 2])

    result = labelled(frames, episodes, lookahead=3, target_rule="reference", share=0.3)

    # floor(9 * 0.3) + 1 = 3 positives in round 2.
    assert (result.adv_ind[10:] == 2).sum() == 3
    assert (result.choice.rank[:10] == -1).all()
    np.testing.assert_array_equal(
        result.adv_ind[:10] == 2, result.advantage[:10] >= result.choice.threshold[0]
    )


def test_a_task_without_frames_in_the_latest_round_uses_its_own_latest() -> None:
    """Task 0 was last rolled out in round 1; it still gets a threshold."""
    frames, episodes = dataset([10, 10], tasks=[0, 1], rounds=[1, 2])

    result = labelled(frames, episodes, lookahead=3, target_rule="reference")

    assert np.isfinite(result.choice.threshold).all()
    assert [(result.adv_ind[part] == 2).sum() for part in (slice(10), slice(10, 20))] == [4, 4]


def test_demonstrations_keep_their_labels_and_need_no_values() -> None:
    """A dataset of demonstrations only is left as it is."""
    frames, episodes = dataset(
        [3, 2],
        values=np.full(5, np.nan),
        interventions=(0, 1, 2, 3, 4),
        adv_ind=np.array([2, 2, 0, 2, 2], dtype=np.int8),
    )

    result = labelled(frames, episodes, lookahead=2)

    assert result.adv_ind.tolist() == [2, 2, 0, 2, 2]
    assert np.isnan(result.choice.threshold).all()
    assert result.choice.autonomous_positive_share == 0


def test_demonstrations_can_be_in_the_pool() -> None:
    """With the pool of all frames, their advantages move the threshold."""
    values = np.concatenate([np.linspace(-0.9, 0, 10), np.full(10, -0.5)])
    frames, episodes = dataset([10, 10], values=values, interventions=tuple(range(10)))

    result = labelled(
        frames, episodes, lookahead=None, target_rule="fixed_limit", limit_frames=100, pool="all"
    )

    assert (result.choice.rank >= 0).all()
    assert (result.adv_ind[:10] == 0).all()


def test_labelling_again_changes_nothing() -> None:
    """The labels that went in do not matter to rollout frames."""
    frames, episodes = dataset([40, 30], interventions=(5, 6, 41))
    once = labelled(frames, episodes)

    again = labelled(frames._replace(adv_ind=once.adv_ind), episodes)

    np.testing.assert_array_equal(once.adv_ind, again.adv_ind)
    assert once.counts["none"] == 0


def test_paused_frames_have_no_label_unless_they_count_as_autonomous() -> None:
    """``skip`` leaves them out; ``autonomous`` judges them like any other frame."""
    frames, episodes = dataset([20], paused=(4, 5))

    skipped = labelled(frames, episodes, target_rule="reference", pool="autonomous")
    counted = labelled(
        frames, episodes, target_rule="reference", pool="autonomous", paused_frames="autonomous"
    )

    assert skipped.adv_ind[4:6].tolist() == [0, 0]
    assert np.isnan(skipped.advantage[4:6]).all()
    assert skipped.counts["none"] == 2
    assert counted.counts["none"] == 0


def test_an_episode_paused_throughout_is_left_out() -> None:
    """No window, no label, no crash; also when it is the only one."""
    frames, episodes = dataset([3], paused=(0, 1, 2))

    result = labelled(frames, episodes)

    assert result.counts == {"none": 3, "negative": 0, "positive": 0}


def test_a_value_outside_its_range_is_refused() -> None:
    """The error names frame, value, rule, extent and next step."""
    frames, episodes = dataset([4], values=np.array([-0.5, 0.2, -0.1, np.nan]))

    with pytest.raises(ColumnError, match=r"V of frame 1 is 0.2, outside .*\(2 of 4 frames are\)"):
        labelled(frames, episodes)


def test_a_missing_value_is_no_value_outside_its_range() -> None:
    """Values of rollouts alone do not do for a pool with demonstrations in it."""
    values = np.concatenate([np.full(3, np.nan), [-0.5, -0.4]])
    frames, episodes = dataset([3, 2], values=values, interventions=(0, 1, 2))

    assert labelled(frames, episodes).counts["none"] == 3
    with pytest.raises(ColumnError, match=r"V of frame 0 is missing \(3 of 5 frames lack it\)"):
        labelled(frames, episodes, pool="all")
