"""Every named label rule on numbers worked out on paper, and beside the plain definition."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.config.labels import LABEL_PRESETS, LabelConfig, TargetConfig
from recap_core.labels.labelling import (
    Frames,
    LabelRule,
    frame_windows,
    label_frames,
    targets_of,
)
from recap_core.labels.sweep import sweep
from recap_core.labels.targets import Episodes
from recap_core.stages.label_inputs import label_rule

PEERS = json.loads((Path(__file__).parents[2] / "golden/labels/peers.json").read_text())
SUCCESS_V, FAILURE_V = [-0.6, -0.4, -0.1], [-0.9, -0.8]


def two_episodes() -> tuple[Frames, Episodes]:
    """A success of three frames and a failure of two, of one task; the policy drove."""
    return dataset([3, 2], [True, False], values=np.array(SUCCESS_V + FAILURE_V))


def dataset(
    lengths: list[int],
    success: list[bool],
    *,
    values: np.ndarray,
    phase: np.ndarray | None = None,
    tasks: list[int] | None = None,
) -> tuple[Frames, Episodes]:
    """Arrays of a dataset; ``phase`` is 0 for the policy, 1 for the operator, 2 for a pause."""
    phase = np.zeros(len(values), dtype=int) if phase is None else phase
    frames = Frames(
        values.astype(np.float32), phase == 1, phase == 2, np.zeros(len(values), dtype=np.int8)
    )
    rounds = np.arange(len(lengths)) % 2 + 1
    sources = np.arange(len(lengths)) % 3
    task_index = np.array(tasks or [0] * len(lengths))
    return frames, Episodes(np.array(lengths), np.array(success), task_index, rounds, sources)


A, B = 1 / 6, 1 / 301
HAND = {
    # -1/T per frame, one threshold for 30 % of 5 frames: floor(4 * 0.3) + 1 = 2.
    "reference": ([-2 / 3 + 0.5, -1 / 3 + 0.3, 0, -0.5 + 0.1, 0], [2, 4]),
    # T_max = 3 and C = 3, so a frame costs 1/6 and the failure 3/6; 40 % are 2 frames.
    "paper_finetune": ([-2 * A + 0.5, -A + 0.3, 0, -4 * A + 0.1, -3 * A], [0, 1]),
    # 10 % are floor(0.4) + 1 = 1.
    "paper_speed": ([-2 * A + 0.5, -A + 0.3, 0, -4 * A + 0.1, -3 * A], [0]),
    # The whole return less V: 30 % are 2.
    "paper_pretrain": ([-2 * A + 0.6, -A + 0.4, 0.1, -4 * A + 0.9, -3 * A + 0.8], [0, 4]),
    # A frame costs 1/60, past the end is 0 or -1; 20 % are 1.
    "sim_demo": ([-2 / 60 + 0.6, -1 / 60 + 0.4, 0.1, -1 / 60 - 0.1, -0.2], [0]),
    # Returns 0, -1, -2 and -300, -301 over their range of 301; the 0.7 quantile is 0.337.
    "rlinf": ([-2 * B + 0.6, -B + 0.4, 0.1, -1 + 0.9, -300 * B + 0.8], [0, 1]),
    # As paper_finetune with 0 past the end; the 0.7 quantile is 0.26.
    "evo_rl": ([-2 * A + 0.6, -A + 0.4, 0.1, -4 * A + 0.9, -3 * A + 0.8], [0, 4]),
}


def test_every_preset_has_a_table() -> None:
    """No preset without numbers on paper."""
    assert HAND.keys() == LABEL_PRESETS.keys()


@pytest.mark.parametrize("name", LABEL_PRESETS)
def test_a_preset_by_hand(name: str) -> None:
    """Advantages and positive frames of a success (T = 3) and a failure (T = 2); N > T."""
    advantage, positive = HAND[name]
    # The failure is of round 2; these presets would take their threshold from it alone.
    frames, episodes = two_episodes()
    episodes = episodes._replace(round_index=np.array([1, 1]))

    result = label_frames(frames, episodes, label_rule(LABEL_PRESETS[name]))

    np.testing.assert_allclose(result.advantage, advantage, atol=1e-6)
    assert np.flatnonzero(result.adv_ind == 2).tolist() == positive
    assert result.counts == {"none": 0, "negative": 5 - len(positive), "positive": len(positive)}


@pytest.mark.parametrize(
    ("tail", "advantage", "positive"),
    [
        ("last_value", [-2 / 3 + 0.5, -1 / 3 + 0.3, 0, -0.5 + 0.1, 0], [2, 4]),
        # The script's rule calls the end of every failure good (SPEC §9.2).
        ("zero", [-2 / 3 + 0.6, -1 / 3 + 0.4, 0.1, -0.5 + 0.9, 0.8], [3, 4]),
        ("outcome", [-2 / 3 + 0.6, -1 / 3 + 0.4, 0.1, -1.5 + 0.9, -0.2], [1, 2]),
    ],
)
def test_tails_by_hand(tail: Any, advantage: list[float], positive: list[int]) -> None:  # noqa: ANN401
    """The reference rule with each value past the last frame."""
    rule = label_rule(LABEL_PRESETS["reference"])._replace(tail=tail)

    result = label_frames(*two_episodes(), rule)

    np.testing.assert_allclose(result.advantage, advantage, atol=1e-6)
    assert np.flatnonzero(result.adv_ind == 2).tolist() == positive


@pytest.mark.parametrize("setting", PEERS["evo_rl"])
def test_evo_rl_computes_the_same(setting: str) -> None:
    """Its own functions at commit 4425ccd, run on this data: targets, advantages, indicators."""
    golden, (lookahead, share) = PEERS["evo_rl"][setting], setting.split(",")
    changed = {"lookahead": int(lookahead), "positive_share": float(share)}
    rule = label_rule(LABEL_PRESETS["evo_rl"].model_copy(update=changed))
    frames, episodes = peers_data(PEERS["success"])

    result = label_frames(frames, episodes, rule)

    np.testing.assert_allclose(targets_of(frames, episodes, rule).targets, golden["targets"], 1e-6)
    np.testing.assert_allclose(result.advantage, golden["advantages"], atol=1e-6)
    np.testing.assert_allclose(result.choice.threshold, golden["thresholds"], atol=1e-6)
    np.testing.assert_array_equal(result.adv_ind == 2, np.array(golden["indicator"]) == 1)


@pytest.mark.parametrize("case", PEERS["rlinf"])
def test_rlinf_computes_the_same(case: str) -> None:
    """Its own functions at commit a3816b5: also where all fail, which shifts every advantage."""
    golden, failed = PEERS["rlinf"][case], case == "all_failed"
    targets = TargetConfig(
        rule="return_range", fail_frames=300, discount=0.9 if case == "discount" else 1
    )
    changed = {"targets": targets, "lookahead": 10 if case == "mixed" else 3}
    rule = label_rule(LABEL_PRESETS["rlinf"].model_copy(update=changed))
    frames, episodes = peers_data([False] * 4 if failed else PEERS["success"])

    result = label_frames(frames, episodes, rule)

    np.testing.assert_allclose(targets_of(frames, episodes, rule).targets, golden["targets"], 1e-6)
    np.testing.assert_allclose(result.advantage, golden["advantages"], atol=2e-6)
    assert result.choice.threshold == pytest.approx(golden["threshold"], abs=2e-6)
    np.testing.assert_array_equal(result.adv_ind == 2, np.array(golden["label"]) == 1)
    # Returns from -312 to -300: every window earns 300/12 = 25 beside its rewards.
    assert targets_of(frames, episodes, rule).window_offset == (25.0 if failed else 0.0)


def peers_data(success: list[bool]) -> tuple[Frames, Episodes]:
    phase = np.array(PEERS["intervention"])
    values = np.array(PEERS["values"])
    return dataset(PEERS["lengths"], success, values=values, phase=phase, tasks=PEERS["tasks"])


def plain_advantages(frames: Frames, episodes: Episodes, rule: LabelRule) -> list[float]:
    """The definition, one frame and one step at a time, from the rules' own formulas."""
    returns = _plain_returns(frames, episodes, rule)
    highest = max((g for own in returns for g in own), default=0.0)
    lowest = min((g for own in returns for g in own), default=0.0)
    starts = np.cumsum(episodes.lengths) - episodes.lengths
    result = [np.nan] * len(frames.values)
    for e, start in enumerate(starts.tolist()):
        active = _plain_active(frames, episodes, rule, e)
        num_active = len(active)
        longest = max(
            len(_plain_active(frames, episodes, rule, k))
            for k in range(len(starts))
            if episodes.task_index[k] == episodes.task_index[e]
        )
        failed = not episodes.success[e]
        scale, end_cost = {
            "reference": (num_active, 0),
            "fixed_limit": (rule.limit_frames, 0),
            "per_task": (longest * (1 + rule.fail_cost), failed * rule.fail_cost * longest),
            "return_range": (highest - lowest or np.inf, failed * (rule.fail_frames or 0)),
        }[rule.target_rule]
        offset = 0.0
        if rule.target_rule == "return_range":
            offset = -highest / (highest - lowest) if highest > lowest else -0.5
        value = [float(frames.values[start + i]) for i in active]
        tail = {
            "last_value": value[-1] if value and rule.lookahead is not None else 0.0,
            "zero": 0.0,
            "outcome": -1.0 if failed else 0.0,
        }[rule.tail]
        for t in range(num_active):
            total, u = offset, t
            while True:
                weight = rule.discount ** (u - t)
                total -= weight * (end_cost if u == num_active - 1 else 1) / scale
                u += 1
                weight = rule.discount ** (u - t)
                if u == num_active:
                    total += weight * tail
                    break
                taken_over = rule.cut_at_takeover and frames.is_intervention[start + active[u]]
                if taken_over or (rule.lookahead is not None and u == t + rule.lookahead):
                    total += weight * value[u]
                    break
            result[start + active[t]] = total - value[t]
    return result


def _plain_active(frames: Frames, episodes: Episodes, rule: LabelRule, e: int) -> list[int]:
    start = int(episodes.lengths[:e].sum())
    skips = rule.paused_frames == "skip"
    return [i for i in range(episodes.lengths[e]) if not (skips and frames.is_paused[start + i])]


def _plain_returns(frames: Frames, episodes: Episodes, rule: LabelRule) -> list[list[float]]:
    """-1 per frame and the cost of failure at the end, discounted, of every episode."""
    returns = []
    for e, success in enumerate(episodes.success):
        length = len(_plain_active(frames, episodes, rule, e))
        cost = 0 if success else (rule.fail_frames or 0)
        rewards = [-1.0] * (length - 1) + [-cost] if length else []
        returns.append(
            [sum(rule.discount**k * r for k, r in enumerate(rewards[t:])) for t in range(length)]
        )
    return returns


@st.composite
def labellings(draw: st.DrawFn) -> tuple[Frames, Episodes, LabelRule]:
    """Any small dataset and any rule."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, e = sum(lengths), len(lengths)
    frames, episodes = dataset(
        lengths,
        rng.integers(0, 2, e).astype(bool).tolist(),
        values=-rng.integers(0, draw(st.sampled_from([2, 5, 1000])), n) / 1000,
        phase=rng.choice(3, n, p=[0.6, 0.2, 0.2]),
        tasks=rng.integers(0, 2, e).tolist(),
    )
    target_rule: Any = draw(
        st.sampled_from(["reference", "per_task", "fixed_limit", "return_range"])
    )
    with_discount = target_rule in {"per_task", "return_range"} and draw(st.booleans())
    rule = LabelRule(
        lookahead=draw(st.one_of(st.none(), st.integers(1, 12))),
        target_rule=target_rule,
        fail_cost=draw(st.sampled_from([0.0, 0.5, 2.0])),
        limit_frames=20,
        fail_frames=draw(st.sampled_from([0.0, 7.0])),
        discount=0.8 if with_discount else 1.0,
        tail=draw(st.sampled_from(["last_value", "zero", "outcome"])),
        cut_at_takeover=draw(st.booleans()),
        paused_frames=draw(st.sampled_from(["skip", "autonomous"])),
    )
    threshold = rule.threshold._replace(
        share=draw(st.sampled_from([0.1, 0.3, 0.5, 1.0])),
        scope=draw(st.sampled_from(["task", "source", "dataset"])),
        pool=draw(st.sampled_from(["autonomous", "autonomous_latest_round", "all"])),
        selection=draw(st.sampled_from(["exact_share", "quantile"])),
    )
    return frames, episodes, rule._replace(threshold=threshold)


@settings(max_examples=60)
@given(labellings())
def test_any_rule_equals_the_plain_loop(case: tuple[Frames, Episodes, LabelRule]) -> None:
    """Advantages of a whole dataset at once, beside one frame and one step at a time."""
    frames, episodes, rule = case

    result = label_frames(frames, episodes, rule)
    windows = frame_windows(frames, episodes, rule)

    expected = plain_advantages(frames, episodes, rule)
    np.testing.assert_allclose(result.advantage, expected, atol=2e-5)
    defined = np.isfinite(result.advantage)
    assert (windows.ends[defined] > np.flatnonzero(defined)).all()
    assert (windows.ends[~defined] == -1).all()


@settings(max_examples=60)
@given(labellings())
def test_a_pool_has_exactly_its_share(case: tuple[Frames, Episodes, LabelRule]) -> None:
    """floor((n-1) share) + 1 by exact share, the largest advantages, earlier frames first."""
    frames, episodes, rule = case
    rule = rule._replace(threshold=rule.threshold._replace(selection="exact_share"))

    choice = label_frames(frames, episodes, rule).choice
    advantage = label_frames(frames, episodes, rule).advantage

    for size, number in zip(choice.pool_size, choice.num_positive, strict=True):
        expected = int((size - 1) * rule.threshold.share + 1e-9) + 1 if size else 0
        assert number == expected
    scope = {"task": episodes.task_index, "source": episodes.source_index}.get(rule.threshold.scope)
    group = np.zeros(len(advantage), int) if scope is None else np.repeat(scope, episodes.lengths)
    for g in np.unique(group):
        pool = np.flatnonzero((group == g) & (choice.rank >= 0))
        by_rank = sorted(pool.tolist(), key=lambda i: (-advantage[i], i))
        assert choice.rank[by_rank].tolist() == list(range(len(pool)))


@settings(max_examples=40)
@given(labellings())
def test_a_sweep_counts_what_labelling_labels(case: tuple[Frames, Episodes, LabelRule]) -> None:
    """Every point of the grid has the counts and thresholds of a labelling with those settings."""
    frames, episodes, rule = case
    before = (np.arange(len(frames.values)) % 3).astype(np.int8)
    lookaheads, shares = (2, None), (0.5, 0.2, 1.0)

    grid = sweep(frames, episodes, rule, lookaheads=lookaheads, shares=shares, before=before)

    skipped = frames.is_paused & (rule.paused_frames == "skip")
    judged = ~(frames.is_intervention | skipped)
    tasks = np.repeat(episodes.task_index, episodes.lengths)
    success = np.repeat(episodes.success, episodes.lengths)
    for i, lookahead in enumerate(lookaheads):
        for j, share in enumerate(shares):
            own = rule._replace(lookahead=lookahead, threshold=rule.threshold._replace(share=share))
            result = label_frames(frames, episodes, own)
            is_positive = judged & (result.adv_ind == 2)
            for task in np.unique(tasks):
                for outcome in (0, 1):
                    cell = (tasks == task) & (success == outcome)
                    counts = np.bincount(before[cell & is_positive], minlength=3)
                    assert grid.positive[i, j, task, outcome].tolist() == counts.tolist()
            np.testing.assert_allclose(grid.threshold[i, j], result.choice.threshold, atol=1e-6)
            flips = [
                (judged & (before == 2) & ~is_positive).sum(),
                (is_positive & (before != 2)).sum(),
            ]
            assert grid.flips()[i, j].tolist() == flips


@pytest.mark.parametrize("name", LABEL_PRESETS)
def test_edges(name: str) -> None:
    """One frame; all demonstrations; all failures; one value everywhere; a task of three frames."""
    rule = label_rule(LABEL_PRESETS[name])
    one = label_frames(*dataset([1], [True], values=np.array([-0.5])), rule)
    assert (one.adv_ind.tolist(), one.choice.num_positive.tolist()) == ([2], [1])

    demo = dataset([4], [True], values=np.full(4, -0.5), phase=np.ones(4, dtype=int))
    kept = 2 if rule.demonstrations == "positive" else 0
    assert label_frames(*demo, rule).adv_ind.tolist() == [kept] * 4

    rng = np.random.default_rng(3)
    failures = dataset([6, 5], [False, False], values=-rng.random(11))
    failed = label_frames(*failures, rule)
    assert np.isfinite(failed.advantage).all()
    assert 0 < failed.counts["positive"] < 11

    flat = label_frames(*dataset([20], [True], values=np.full(20, -0.5)), rule)
    assert flat.counts["none"] == 0

    values = np.concatenate([-rng.random(30), [-0.1, -0.2, -0.3]])
    three = label_frames(*dataset([30, 3], [True, True], values=values, tasks=[0, 1]), rule)
    if rule.threshold.scope == "task" and rule.threshold.selection == "exact_share":
        assert (three.adv_ind[30:] == 2).sum() == int(2 * rule.threshold.share) + 1


def test_a_name_stands_for_its_rule() -> None:
    """Wherever a label rule is expected: in Python, YAML and on the command line."""
    assert LabelConfig.model_validate("paper_speed") == LABEL_PRESETS["paper_speed"]
    with pytest.raises(ValueError, match="no label preset 'paper'; there are reference, paper_fin"):
        LabelConfig.model_validate("paper")


def test_labels_of_version_1_are_still_read() -> None:
    """They say ``per_task`` where today's say ``threshold_per``."""
    assert LabelConfig.model_validate({"per_task": False}).threshold_per == "dataset"
    assert LabelConfig.model_validate({"per_task": True}) == LabelConfig()


def test_settings_that_contradict_are_refused() -> None:
    """Each half of a pair makes sense with the other only."""
    with pytest.raises(ValueError, match="comparison is 'above' with selection 'exact_share'"):
        LabelConfig(comparison="above")
    with pytest.raises(ValueError, match=r"discount is 0\.9 with rule 'reference'"):
        TargetConfig(rule="reference", discount=0.9)
    with pytest.raises(ValueError, match="fail_frames is None with rule 'return_range'"):
        TargetConfig(rule="return_range")
