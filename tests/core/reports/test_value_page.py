"""The page of a value model, and the video of an episode."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recap_core.data.video_files import encode_video, read_frames_in_order, rgb
from recap_core.labels.adv_ind import NEGATIVE, POSITIVE
from recap_core.reports.content import AuditRow, HealthSummary, Interval, TaskRow, Thumbnail
from recap_core.reports.value_content import ValuePanel, ValueReport
from recap_core.reports.value_page import render_value_report, write_value_report
from recap_core.reports.value_panels import is_rising, value_figure
from recap_core.reports.value_video import AnnotatedEpisode, annotated_frames
from recap_core.valuation.calibration import CalibrationFrames, calibrate
from recap_core.valuation.calibration import Interval as Measured
from tests.core.reports.conftest import camera_frame
from tests.core.reports.test_page import Outline

T = 40


def panel(index: int = 29) -> ValuePanel:
    """A failure that V takes for a success."""
    values = np.linspace(-0.9, -0.1, T)
    spread = np.abs(np.linspace(-1, 0, 21)[None] - values[:, None])
    distribution = np.exp(-20 * spread)
    return ValuePanel(
        title="Worst episode <b>",
        episode_index=index,
        fps=10,
        outcome="failure",
        role="test",
        error=0.5,
        values=values,
        targets=np.full(T, -1.0),
        is_intervention=np.arange(T) // 10 == 1,
        distribution=distribution / distribution.sum(axis=1, keepdims=True),
        key_frames=tuple(
            Thumbnail(frame=frame, image=camera_frame(frame / T), camera="top")
            for frame in (0, 10, 20, 29, 39)
        ),
    )


def health(**changes: object) -> HealthSummary:
    fields = {
        "healthy": True,
        "spearman": Interval(value=0.66, low=0.54, high=0.75, bar=0.2),
        "separation": Interval(value=0.37, low=0.27, high=0.47, bar=0.0),
        "largest_bin_share": 0.5,
        "largest_bin_limit": 0.9,
        "cross_entropy": 1.9,
        "top1": 0.63,
        "top5": 0.77,
        "held_out_episodes": 18,
    } | changes
    return HealthSummary(**fields)  # pyright: ignore[reportArgumentType] - by name


def value_page_content(**changes: object) -> ValueReport:
    """The page of a model with two tasks and one doubtful mark."""
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 0, 400)
    episode = np.arange(400) // 40
    frames = CalibrationFrames(
        values, np.clip(values + 0.1, -1, 0), episode, np.tile(np.arange(40)[::-1], 10),
        episode % 2 == 0,
    )  # fmt: skip
    row = TaskRow(
        task="fold the <towel>",
        num_success_episodes=5,
        num_failure_episodes=1,
        num_frames=240,
        cross_entropy=2.0,
        spearman=Measured(0.6, 0.5, 0.7),
        separation=Measured(np.nan, np.nan, np.nan),
    )
    doubt = AuditRow(
        episode_index=29,
        outcome="failure",
        score=0.65,
        late_value=-0.43,
        late_target=-1.0,
        other_target=-0.12,
        role="test",
        command="recap annotate merged-1a2b3c4d -e 29 --outcome success",
        has_panel=True,
    )
    fields = {
        "title": "Value model",
        "subtitle": "fold",
        "created": "today",
        "health": health(),
        "calibration": calibrate(frames, num_bootstrap=100),
        "fps": 10,
        "tasks": (row,),
        "audit": (doubt,),
        "num_audited": 18,
        "panels": (panel(),),
    } | changes
    return ValueReport(**fields)  # pyright: ignore[reportArgumentType] - by name


def test_a_long_audit_counts_all_and_shows_the_first() -> None:
    """The number of doubtful marks is not the number of rows that fit."""
    first = value_page_content().audit[0]
    rows = tuple(replace(first, episode_index=index, has_panel=False) for index in range(1100))

    page = render_value_report(value_page_content(audit=rows, num_audited=3000))

    assert "of 3,000 episodes" in page
    assert "At the end of 1,100 of" in page
    assert page.count(first.command) == 50
    assert "And 1,050 more" in page
    assert "--project PROJECT/ROBOT" in page  # without it, a correction counts in no round
    doubtful = render_value_report(value_page_content(health=health(healthy=False)))
    assert "says little about the marks" in doubtful
    assert "says little about the marks" not in page


def test_a_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    """No address but data and anchors, no markup from outside; equal data give equal bytes."""
    path = tmp_path / "value.html"
    write_value_report(value_page_content(), path)
    page = path.read_text(encoding="utf-8")

    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "<towel>" not in page
    assert "Worst episode &lt;b&gt;" in page
    assert page == render_value_report(value_page_content())
    assert "nan" not in "".join(Outline(page).text)  # well-formed, too


def test_a_doubtful_mark_leads_to_its_pictures_and_its_correction() -> None:
    """The audit links to a panel that is there, and shows the command."""
    page = render_value_report(value_page_content())

    assert '<a href="#episode-29">29</a>' in page
    assert 'id="episode-29"' in page
    assert "recap annotate merged-1a2b3c4d -e 29 --outcome success" in page
    assert page.count('alt="top at ') == 5


def test_what_is_unknown_is_not_drawn() -> None:
    """One outcome alone: reasons and no interval plot; numbers that are none become dashes."""
    nothing = Interval(value=np.nan, low=np.nan, high=np.nan, bar=0.2)
    unknown = health(healthy=False, spearman=nothing, separation=nothing, reasons=("no failures",))
    page = render_value_report(
        value_page_content(health=unknown, calibration=None, audit=(), panels=())
    )

    assert "✕ not healthy" in page
    assert "no failures" in page
    assert "Rank correlation</th><td" not in page
    assert "V contradicts the operator's mark in none of the 18 episodes" in page
    assert "nan" not in page.lower().replace("finance", "")


def test_rise_and_fall() -> None:
    """Small wiggles go on as before; a gap is bridged."""
    values = np.concatenate([np.linspace(-1, -0.5, 20), np.full(10, -0.5), [np.nan] * 2])
    values = np.concatenate([values, np.linspace(-0.5, -1, 20)])

    rising = is_rising(values)

    assert rising[:28].all()
    assert not rising[36:].any()


def test_a_long_episode_has_a_small_picture() -> None:
    """An hour at 30 fps is thinned: figure and distribution stay below 100 kB."""
    num_frames = 20_000
    long = ValuePanel(
        title="x",
        episode_index=0,
        fps=30,
        outcome="success",
        role="train",
        error=0.1,
        values=np.linspace(-1, 0, num_frames),
        targets=np.linspace(-1, 0, num_frames),
        is_intervention=np.zeros(num_frames, bool),
        distribution=np.full((num_frames, 21), 1 / 21),
    )

    assert len(value_figure(long)) < 100_000


def annotated(**changes: object) -> AnnotatedEpisode:
    fields = {
        "title": "day, episode 3",
        "fps": 10,
        "outcome": "failure",
        "values": np.linspace(-1, 0, 10),
        "is_intervention": np.arange(10) >= 6,
        "adv_ind": np.where(np.arange(10) < 5, NEGATIVE, POSITIVE),
    } | changes
    return AnnotatedEpisode(**fields)  # pyright: ignore[reportArgumentType] - by name


def test_the_value_appears_as_time_passes() -> None:
    """Frames have one even size; the curve and the labels end at the frame that is shown."""
    images = [{"top": np.full((48, 64, 3), 200, np.uint8)} for _ in range(10)]

    frames = list(annotated_frames(annotated(), images))

    assert {frame.shape for frame in frames} == {frames[0].shape}
    assert all(side % 2 == 0 for side in frames[0].shape[:2])
    blue, orange = (86, 180, 233), (232, 128, 60)

    def columns(frame: np.ndarray, colour: tuple[int, ...]) -> int:
        return int((frame[-30:] == colour).all(axis=-1).any(axis=0).sum())

    assert columns(frames[0], blue) == 0
    assert columns(frames[4], blue) == 0
    assert columns(frames[9], blue) == pytest.approx(columns(frames[9], orange), abs=3)
    assert columns(frames[2], orange) < columns(frames[4], orange)
    # The operator's bar is on the camera images from frame 6 on.
    bar = [(frame[318, 300] == (217, 147, 199)).all() for frame in frames]
    assert bar == [False] * 6 + [True] * 4


def test_without_cameras_labels_or_values_there_is_still_a_plot() -> None:
    """Only the strip, without a curve where there is no V."""
    bare = annotated(values=np.full(10, np.nan), adv_ind=None, outcome="unknown")

    (first, *_) = annotated_frames(bare, [{} for _ in range(10)])

    assert first.shape[1] == 640
    assert first.shape[0] % 2 == 0


def test_many_wide_cameras_are_scaled_to_fit(tmp_path: Path) -> None:
    """Four pictures of 16:9 do not become a video of 2,300 pixels; it can be encoded and read."""
    wide = {f"camera_{i}": np.full((90, 160, 3), 60 * i, np.uint8) for i in range(4)}
    frames = list(annotated_frames(annotated(), [wide] * 10))

    assert frames[0].shape[1] <= 1602
    path = tmp_path / "x.mp4"
    assert encode_video(frames, path, fps=10) == 10
    assert rgb(next(read_frames_in_order(path, start_s=0.0))).shape == frames[0].shape
