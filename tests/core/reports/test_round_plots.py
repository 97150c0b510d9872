"""Rounds from left to right, and the lineage over all of them."""

import math
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from recap_core.reports.round_content import TaskChange
from recap_core.reports.round_lineage import COLUMN, Round, round_lineage
from recap_core.reports.round_plots import (
    disk_columns,
    flip_columns,
    flip_strip,
    label_columns,
    metric_plot,
    sparkline,
    success_plot,
    time_columns,
)
from recap_core.reports.site_content import (
    LabelCounts,
    Rate,
    RoundGraph,
    RoundNode,
    RoundRow,
    StageCost,
    ValueNumbers,
)

START = Rate(successes=30, episodes=100, low=0.22, high=0.4)


def row(k: int, **changes: object) -> RoundRow:
    """A promoted round in which all went well."""
    made = RoundRow(
        id=f"{k:032x}",
        round_index=k,
        finished="2026-03-03 14:05",
        verdict="promoted",
        reasons=(),
        policy_id=None,
        report_id=None,
        new=Rate(successes=50, episodes=100, low=0.4, high=0.6),
        current=START,
        is_current=False,
        is_candidate=False,
        num_new_episodes=8,
        labels=LabelCounts(positive=20, negative=70, none=10),
        flipped=0.125,
        flips=(
            TaskChange(
                task="cube", num_frames=200, gained=20, lost=5, other=0, before=0.3, after=0.375
            ),
        ),
        value=ValueNumbers(
            healthy=True,
            imported=False,
            spearman=(0.5, 0.3, 0.7),
            separation=(0.2, 0.1, 0.3),
            cross_entropy=2.0,
        ),
        costs=(
            StageCost(
                stage="train_policy",
                family="policy",
                artifact_id="a",
                name="p",
                seconds=90.0,
                new_bytes=3_000_000,
            ),
            StageCost(
                stage="collect",
                family="recording",
                artifact_id="b",
                name="r",
                seconds=30.0,
                new_bytes=1_000_000,
            ),
        ),
        changes=(),
    )
    return replace(made, **changes)  # pyright: ignore[reportArgumentType] - by name


def parsed(markup: str) -> ET.Element:
    """A picture of ours."""
    return ET.fromstring(markup)  # noqa: S314 - drawn by this process


def drawn(markup: str, class_: str) -> list[ET.Element]:
    """Elements of a picture that have a class."""
    return [e for e in parsed(markup).iter() if class_ in (e.get("class") or "").split()]


def no_page(_: str) -> str:
    """No address."""
    return ""


def test_every_verdict_has_a_shape_of_its_own() -> None:
    """Disc, diamond and ring tell decisions apart without their colours."""
    rows = [row(1), row(2, verdict="candidate"), row(3, verdict="kept"), row(4, new=None)]

    picture = success_plot(rows, START, no_page)

    assert [e.tag for e in drawn(picture, "promoted")] == ["circle"]
    assert [e.tag for e in drawn(picture, "candidate")] == ["path"]
    assert [e.tag for e in drawn(picture, "kept")] == ["circle"]
    assert len(drawn(picture, "round-mark")) == 3
    assert len(drawn(picture, "start-line")) == 1


def test_a_mark_leads_to_its_round_where_it_has_a_page() -> None:
    """It is a link with words for those who cannot see it; else a group with the same words."""
    [link] = drawn(success_plot([row(7)], None, lambda id_: f"/iterations/{id_}"), "round")
    [group] = drawn(success_plot([row(7)], None, no_page), "round")

    assert (link.tag, link.get("href")) == ("a", f"/iterations/{7:032x}")
    assert "Round 7: 50.0" in str(link.get("aria-label"))
    assert group.tag == "g"


@pytest.mark.parametrize("num", [1, 13, 14, 50, 400])
def test_numbers_of_rounds_keep_their_distance(num: int) -> None:
    """At most thirteen of them stand below a plot."""
    picture = label_columns([row(k) for k in range(1, num + 1)])

    names = [e for e in drawn(picture, "tick") if (e.text or "").isdigit()]
    assert 1 <= len(names) <= 13


def test_the_line_in_use_follows_promotions() -> None:
    """It starts at the starting policy, and moves where a policy was promoted."""
    rows = [row(1, verdict="kept"), row(2), row(3, verdict="kept")]

    [line] = drawn(success_plot(rows, START, no_page), "in-use")

    assert line.get("d") == "M0.0,185.0H333.3V135.0H666.7V135.0H1000.0"


def test_a_model_that_is_not_healthy_is_a_cross() -> None:
    """Rounds without a measurement have no mark; without any, the plot says so."""
    sick = ValueNumbers(
        healthy=False,
        imported=False,
        spearman=(0.1, -0.1, 0.3),
        separation=(0.0, 0.0, 0.0),
        cross_entropy=5.0,
    )
    rows = [row(1), row(2, value=sick), row(3, value=None)]
    nothing = (math.nan, math.nan, math.nan)
    values = [(0.5, 0.3, 0.7), (0.1, -0.1, 0.3), nothing]

    picture = metric_plot(rows, values, name="rank correlation", bar=0.2, address=no_page)
    empty = metric_plot(rows, [nothing] * 3, name="rank correlation", address=no_page)

    assert len(drawn(picture, "healthy")) == 1
    assert len(drawn(picture, "unhealthy")) == 1
    assert len(drawn(picture, "threshold")) == 1
    assert "not measured" in empty


def test_columns_are_as_high_as_their_shares() -> None:
    """Labels fill the plot's height in their shares; a round without labels has no column."""
    picture = label_columns([row(1), row(2, labels=None)])

    heights = [float(str(e.get("height"))) for e in drawn(picture, "share")]
    assert heights == pytest.approx([24, 84, 12])


def test_flips_that_are_not_known_are_not_zero() -> None:
    """A plot without a number says that there is none."""
    assert "not known" in flip_columns([row(1, flipped=None)])
    assert len(drawn(flip_columns([row(1, flipped=None), row(2)]), "flip")) == 1


def test_time_is_divided_by_kind_of_work() -> None:
    """The parts of a column tell their time in words."""
    picture = time_columns([row(1)])

    titles = [e.findtext("title") for e in drawn(picture, "time")]
    assert titles == [
        "Round 1, recording: 30 s of 2 min 00 s",
        "Round 1, policy training: 1 min 30 s of 2 min 00 s",
    ]


def test_disk_is_divided_by_kind_of_work() -> None:
    """So is what a round added to the disk; of an older report nothing is known."""
    old = row(1, costs=tuple(replace(cost, new_bytes=None) for cost in row(1).costs))

    picture = disk_columns([old, row(2)])

    titles = [e.findtext("title") for e in drawn(picture, "time")]
    assert titles == [
        "Round 2, recording: 1.0 MB of 4.0 MB",
        "Round 2, policy training: 3.0 MB of 4.0 MB",
    ]
    assert [e.text for e in drawn(picture, "tick")][:3] == ["0 B", "2.0 MB", "4.0 MB"]
    assert "not known" in disk_columns([old])


def test_a_task_that_flipped_more_has_more_colour() -> None:
    """25 of 200 frames are half of the largest share; rounds without the task have no cell."""
    picture = flip_strip([row(1, flips=()), row(2)], "cube", 0.25)

    [cell] = drawn(picture, "flip")
    assert float(str(cell.get("fill-opacity"))) == pytest.approx(0.08 + 0.92 / 2)
    assert cell.get("x") == "50%"
    assert str(cell.findtext("title")).startswith("Round 2, cube: 12.5")


def test_a_sparkline_skips_what_was_not_evaluated() -> None:
    """Without any rate there is no picture."""
    assert sparkline([None, None]) == ""
    assert "50.0" in sparkline([START, None, Rate(successes=1, episodes=2, low=0.0, high=1.0)])


def test_a_collector_s_line_takes_the_rail() -> None:
    """From a policy to recordings rounds later, above all lanes; every box is a link."""
    nodes = tuple(
        RoundNode(id=id_, kind=kind, name=id_, round_index=k, lane=lane)
        for id_, kind, k, lane in (
            ("start", "policy_checkpoint", 0, 1),
            ("r1", "recording", 1, 0),
            ("p1", "policy_checkpoint", 1, 1),
            ("r2", "recording", 2, 0),
        )
    )
    graph = RoundGraph(
        lanes=("recordings", "policy"),
        nodes=nodes,
        edges=(("start", "r1"), ("start", "r2"), ("r1", "p1")),
    )
    columns = {k: Round(f"round {k}", f"/{k}") for k in range(3)}

    picture = round_lineage(graph, columns, lambda id_: f"/artifacts/{id_}")

    paths = [str(e.get("d")) for e in drawn(picture, "edge")]
    assert [f",{32} " in path for path in paths] == [True, True, False]
    assert {e.get("href") for e in drawn(picture, "artifact")} == {
        f"/artifacts/{node.id}" for node in nodes
    }
    assert parsed(picture).get("width") == str(3 * COLUMN)
