"""Drawings at the places that were worked out on paper."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from recap_core.reports.content import (
    Comparison,
    IterationReport,
    LabelShare,
    SuccessBar,
    Thumbnail,
    TrainingCurve,
    ValueCurve,
)
from recap_core.reports.label_shares import share_bar
from recap_core.reports.leaders import leaders
from recap_core.reports.success import difference_bar, difference_reach, success_bar
from recap_core.reports.svg import line_path, runs, ticks
from recap_core.reports.training_curves import is_logarithmic, loss_figure
from recap_core.reports.value_curves import describe, episode_figure


def find(svg: str, class_: str) -> list[ET.Element]:
    """All elements of a class."""
    root = ET.fromstring(svg)  # noqa: S314 - our own drawing
    return [e for e in root.iter() if class_ in e.get("class", "").split()]


def four_frames() -> ValueCurve:
    """Four frames at 2 fps: the operator drives in the third; one label of each kind."""
    return ValueCurve(
        title="four",
        episode_index=7,
        fps=2,
        outcome="success",
        values=np.array([-1.0, -0.5, -0.25, 0.0]),
        targets=np.array([-0.75, -0.5, -0.25, 0.0]),
        advantage=np.array([-0.1, 0.2, np.nan, 0.1]),
        adv_ind=np.array([1, 2, 2, 0]),
        is_intervention=np.array([False, False, True, False]),
        threshold=0.05,
        thumbnails=tuple(
            Thumbnail(frame=f, image=np.zeros((4, 4, 3), dtype=np.uint8)) for f in (0, 3)
        ),
    )


def test_a_success_bar_ends_at_the_rate_and_its_whisker_at_the_interval() -> None:
    """30 of 40 with [0.598, 0.858]: the bar is 75 % wide, the whisker spans 59.8 to 85.8 %."""
    svg = success_bar(
        SuccessBar(
            name="new", successes=30, episodes=40, low=0.598, high=0.858, per_1000_frames=20.0
        )
    )

    (bar,) = find(svg, "bar")
    assert bar.get("width") == "75%"
    (span,) = find(svg, "span")
    assert (span.get("x1"), span.get("x2")) == ("59.8%", "85.8%")
    (whisker,) = find(svg, "whisker")
    assert [line.get("x1") for line in whisker] == ["59.8%", "59.8%", "85.8%"]


def test_a_difference_stands_beside_zero_in_the_middle() -> None:
    """+20 [-5, +45] on an axis of 50 points each way: at 70 %, from 45 to 95 %."""
    comparison = Comparison(
        candidate="a", baseline="b", difference=0.2, low=-0.05, high=0.45, outcome="undecided"
    )

    assert difference_reach([comparison]) == 0.5
    svg = difference_bar(comparison, 0.5)
    (dot,) = find(svg, "dot")
    assert dot.get("cx") == "70%"
    (span,) = find(svg, "span")
    assert (span.get("x1"), span.get("x2")) == ("45%", "95%")
    (zero,) = find(svg, "zero")
    assert zero.get("x1") == "50%"


def test_an_intervention_shades_the_time_of_its_frames() -> None:
    """The third of four frames is shaded from 50 to 75 % of the width."""
    (span,) = find(episode_figure(four_frames()), "human-span")

    assert (span.get("x"), span.get("width")) == ("50%", "25%")


def test_the_label_strip_puts_positive_above_negative() -> None:
    """Runs keep their place in time; height tells the label without colour."""
    svg = episode_figure(four_frames())

    (negative,) = find(svg, "negative")
    (positive,) = find(svg, "positive")
    (none,) = find(svg, "none")
    assert (negative.get("x"), negative.get("width")) == ("0%", "25%")
    assert (positive.get("x"), positive.get("width")) == ("25%", "50%")
    assert (none.get("x"), none.get("width")) == ("75%", "25%")
    tops = [float(e.get("y", "nan")) for e in (positive, none, negative)]
    assert tops == sorted(tops)


def test_a_value_curve_passes_through_the_middles_of_its_frames() -> None:
    """V of -1, -0.5, -0.25 and 0 on 132 pixels, 2 pixels of air: y = 134, 68, 35, 2."""
    (path,) = find(episode_figure(four_frames()), "value")

    assert path.get("d") == "M125,134h0L375,68L625,35L875,2"


def test_an_undefined_advantage_is_a_gap() -> None:
    """The line ends before the frame without advantage and starts again after it."""
    (path,) = find(episode_figure(four_frames()), "advantage")

    assert path.get("d", "").count("M") == 2


def test_every_frame_tells_its_numbers() -> None:
    """Pointing at the second frame shows time, driver, value, advantage and label."""
    svg = episode_figure(four_frames())

    titles = [e.text or "" for cell in find(svg, "hover") for e in cell]
    assert len(titles) == 4
    assert "frame 1, 0.50 s, policy" in titles[1]
    assert "advantage +0.200: positive" in titles[1]
    assert "operator" in titles[2]


def test_leaders_run_from_the_moment_to_the_slot() -> None:
    """Frames 0 and 3 of four (12.5 and 87.5 %) lead to the middles of two slots."""
    below, above = (find(leaders([0, 3], 4, up=up), "leader") for up in (False, True))

    assert [(e.get("x1"), e.get("x2")) for e in below] == [("12.5%", "25%"), ("87.5%", "75%")]
    assert [(e.get("x2"), e.get("x1")) for e in above] == [("12.5%", "25%"), ("87.5%", "75%")]


def test_a_figure_is_described_in_words() -> None:
    """Readers who cannot see it learn outcome, course, interventions and label counts."""
    assert describe(four_frames()) == (
        "Episode 7, success, 2.0 s: V goes from \N{MINUS SIGN}1.00 to 0.00; "
        "operator drives 1.0 to 1.5 s; 2 frames positive, 1 frames negative, 1 frames none"
    )


def test_an_episode_without_advantage_says_so() -> None:
    """A demonstration has values but no advantage."""
    curve = replace(four_frames(), advantage=np.full(4, np.nan), threshold=None)

    assert "no advantage on these frames" in episode_figure(curve)


def test_a_label_bar_is_divided_by_share() -> None:
    """10, 20, 30 and 40 of 100 frames, in drawing order; an empty group is left out."""
    share = LabelShare(
        task="t", demonstration=10, intervention=20, positive=30, negative=40, none=0
    )

    parts = find(share_bar(share), "share")

    assert [(p.get("x"), p.get("width")) for p in parts] == [
        ("0%", "10%"),
        ("10%", "20%"),
        ("30%", "30%"),
        ("60%", "40%"),
    ]


@pytest.mark.parametrize(("last", "expected"), [(0.5, False), (0.01, True)])
def test_a_loss_over_a_wide_range_gets_a_logarithmic_axis(*, last: float, expected: bool) -> None:
    """From 1 to 0.5 is linear, from 1 to 0.01 logarithmic."""
    curve = TrainingCurve(name="c", steps=np.array([0, 10]), loss=np.array([1.0, last]))

    assert is_logarithmic(curve) is expected
    (path,) = find(loss_figure(curve), "training")
    bottom = 132 if expected else 67
    assert path.get("d") == f"M0,2h0L1000,{bottom}"


def test_a_loss_that_was_never_finite_is_said() -> None:
    """No axis can be drawn; the picture says why."""
    curve = TrainingCurve(name="c", steps=np.array([0]), loss=np.array([np.nan]))

    assert "no finite loss" in loss_figure(curve)


def test_a_long_line_is_thinned_but_keeps_its_spike() -> None:
    """Of 100,000 points at most 1,501 are drawn; the one spike is among them."""
    y = np.zeros(100_000)
    y[54_321] = 9.0

    path = line_path(np.linspace(0, 1000, len(y)), y)

    assert path.count("L") <= 1501
    assert ",9" in path


def test_runs_cover_the_codes_in_order() -> None:
    """Equal neighbours are one run."""
    assert list(runs(np.array([1, 1, 2, 0, 0]))) == [(0, 2, 1), (2, 3, 2), (3, 5, 0)]


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [
        (0.0, 4.0, 6, [0, 1, 2, 3, 4]),
        (-0.31, 0.02, 2, [-0.2, 0.0]),
        (0.0, 1500.0, 4, [0, 500, 1000, 1500]),
        (2.0, 2.0, 3, [2.0]),
    ],
)
def test_ticks_are_round_numbers_inside(
    low: float, high: float, about: int, expected: list[float]
) -> None:
    """Steps of 1, 2 or 5 times a power of ten."""
    assert ticks(low, high, about=about) == expected


def test_an_episode_without_frames_is_refused() -> None:
    """There is no time axis to draw; the error says which column has which length."""
    empty = np.zeros(0)

    with pytest.raises(ValueError, match=r"episode 7: columns .* at least 1, got {'values': 0"):
        replace(
            four_frames(),
            values=empty,
            targets=empty,
            advantage=empty,
            adv_ind=empty.astype(int),
            is_intervention=empty.astype(bool),
            thumbnails=(),
        )


def test_a_thumbnail_past_the_end_is_refused() -> None:
    """It would hang outside of the time axis."""
    late = Thumbnail(frame=4, image=np.zeros((4, 4, 3), dtype=np.uint8))

    with pytest.raises(ValueError, match="a thumbnail shows frame 4 of 4"):
        replace(four_frames(), thumbnails=(late,))


def test_a_comparison_of_an_unknown_policy_is_refused(report: IterationReport) -> None:
    """Its rates would be missing from the headline."""
    stray = replace(report.comparisons[0], baseline="somebody")

    with pytest.raises(ValueError, match="'somebody', which has no success bar"):
        replace(report, comparisons=(stray,))


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.8), (-0.1, 0.5)])
def test_an_interval_out_of_order_or_range_is_refused(
    report: IterationReport, low: float, high: float
) -> None:
    """It would be drawn backwards or outside."""
    with pytest.raises(ValueError, match="ordered and within"):
        replace(report.success_bars[0], low=low, high=high)
