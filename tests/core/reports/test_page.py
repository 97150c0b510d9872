"""The page as a whole: self-contained, well-formed, escaped, complete, repeatable."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from recap_core.reports.content import Fact, IterationReport, LineageNode, Note
from recap_core.reports.iteration import render_report, write_html

VOID = {"meta", "img", "br", "link", "input", "hr"}
ATTACK = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


class Outline(HTMLParser):
    """Elements, attributes and text of a page; raises where tags do not match."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that is opened."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without content."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Check that the innermost element is the one that ends."""
        assert self._open
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text.append(data)


@pytest.fixture(scope="module")
def page_words(report: IterationReport) -> str:
    """All text of the demo's page."""
    return "".join(Outline(render_report(report)).text)


def hostile(value: object, seen: Callable[[str], str]) -> object:
    """The same report with every free text replaced by ``seen(text)``."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        items = value._asdict().items()  # pyright: ignore[reportAttributeAccessIssue] - named
        return type(value)(
            **{k: seen(v) if isinstance(v, str) else hostile(v, seen) for k, v in items}
        )
    if isinstance(value, str):
        return seen(value)
    if isinstance(value, tuple):
        return tuple(hostile(v, seen) for v in value)
    if not hasattr(value, "__dataclass_fields__"):
        return value
    # Ids, names that others refer to, and closed vocabularies keep their values.
    kept = {
        "id", "source", "target", "role", "severity", "outcome", "artifact_id", "verdict", "address"
    }  # fmt: skip
    changes = {}
    for name in value.__dataclass_fields__:  # pyright: ignore[reportAttributeAccessIssue] - dataclass
        old = getattr(value, name)
        if isinstance(old, str):
            changes[name] = old if name in kept else seen(old)
        else:
            changes[name] = hostile(old, seen)
    return replace(value, **changes)  # pyright: ignore[reportArgumentType, reportCallIssue] - dataclass


def test_every_tag_is_closed_by_its_own(report: IterationReport) -> None:
    """The page is well-formed."""
    outline = Outline(render_report(report))

    assert outline.tags.count("title") >= 1
    assert outline.tags.count("h1") == 1
    assert outline.tags.count("table") == 9
    assert outline.tags.count("img") == 21


def test_nothing_is_loaded_from_outside(report: IterationReport) -> None:
    """No script, no link, no style import, no address but data; the policy forbids the rest."""
    page = render_report(report)
    outline = Outline(page)

    assert not {"script", "link", "iframe", "object", "embed"} & set(outline.tags)
    addresses = [v for _, name, v in outline.attributes if name in {"src", "xlink:href"}]
    assert addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", page))
    assert "default-src 'none'" in page


def test_every_text_from_outside_is_escaped(report: IterationReport) -> None:
    """A name that is a script stays a name, wherever it stands."""
    attacked = hostile(report, lambda text: ATTACK + text)
    assert isinstance(attacked, IterationReport)

    outline = Outline(render_report(attacked))

    assert "script" not in outline.tags
    assert outline.tags.count("img") == 21
    assert not [a for a in outline.attributes if a[1].startswith("on")]
    assert ATTACK in "".join(outline.text)


@pytest.mark.parametrize(
    "text",
    [
        "+37.3 points",
        "New policy succeeds in 66.7 % of 150 episodes, Starting policy in 29.3 %.",
        "95 % interval of the difference: +26.7 to +47.3 points.",
        "58.8 to 73.7 %",
        "44 of 150",
        "22.2",
        "4 min 23 s",
        "2,840 frames · threshold +0.021 · 20.0 % of the pool are positive",
        "0.58 to 0.81",
        "1,974",
        "recap demo --seed 0",
    ],
)
def test_the_numbers_are_there(page_words: str, text: str) -> None:
    """Rates, intervals, costs and counts stand in the page as words."""
    assert text in page_words.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_every_link_stays_on_the_page(report: IterationReport) -> None:
    """Boxes of the lineage lead to their lines in the table, which are there."""
    outline = Outline(render_report(report))

    ids = {value for _, name, value in outline.attributes if name == "id"}
    links = [value for _, name, value in outline.attributes if name == "href"]
    assert len(links) >= 17
    assert {link.removeprefix("#") for link in links} <= ids


def test_the_decision_stands_with_its_reasons(page_words: str) -> None:
    """What was decided, why, and the tasks one by one."""
    assert "The new policy is in use" in page_words
    assert "No task got worse." in page_words
    assert "+26.7 to +47.3" in page_words


@pytest.mark.parametrize("verdict", ["promoted", "candidate", "kept"])
def test_a_verdict_is_said_in_words(report: IterationReport, verdict: Any) -> None:  # noqa: ANN401
    """A colour alone tells nothing on paper."""
    assert report.decision is not None
    said = replace(report, decision=replace(report.decision, verdict=verdict))

    words = "".join(Outline(render_report(said)).text)
    sentences = ("The new policy is in use", "A person decides", "The old policy stays in use")
    assert [s in words for s in sentences].count(True) == 1


def test_a_round_on_a_real_robot_has_its_offline_checks(report: IterationReport) -> None:
    """Without evaluations there is no headline, and errors by class stand in their place."""
    robot = replace(report, success_bars=(), comparisons=())

    outline = Outline(render_report(robot))

    words = "".join(outline.text)
    assert "Not passed: range" in words
    assert "0.420" in words
    assert ("section", "aria-label", "Verdict") not in outline.attributes


def test_what_changed_since_the_round_before_is_told(page_words: str) -> None:
    """New episodes, moved numbers, flipped labels and settings."""
    assert "Against round 1" in page_words
    assert "0.49 → 0.71" in page_words
    assert "10.0\N{NARROW NO-BREAK SPACE}%" in page_words
    assert "iteration.label.positive_share" in page_words


def test_equal_data_give_equal_bytes(report: IterationReport) -> None:
    """Rendering twice is rendering once."""
    assert render_report(report) == render_report(report)


def test_a_page_of_the_demo_is_small(report: IterationReport, tmp_path: Path) -> None:
    """Three episodes with 21 thumbnails stay below 1 MB."""
    path = tmp_path / "index.html"

    write_html(report, path)

    assert path.stat().st_size < 1_000_000
    assert path.read_text(encoding="utf-8") == render_report(report)


def test_parts_without_data_leave_no_trace() -> None:
    """A report with a title only has no headings but that."""
    outline = Outline(render_report(IterationReport(title="Nothing yet", success_bars=())))

    assert not {"h2", "table", "svg", "figure"} & set(outline.tags)


def test_an_undecided_comparison_does_not_claim_success(report: IterationReport) -> None:
    """The headline follows the outcome that was computed, not the sign."""
    undecided = replace(
        report.comparisons[0], difference=0.03, low=-0.06, high=0.12, outcome="undecided"
    )
    page = render_report(replace(report, comparisons=(undecided,)))
    words = "".join(Outline(page).text)

    assert "Not decided +3.0 points" in words
    assert "\N{MINUS SIGN}6.0 to +12.0 points; it takes more episodes to tell." in words
    assert "Better" not in words


def test_a_report_without_comparison_names_the_last_rate(report: IterationReport) -> None:
    """A bootstrap has one policy; its rate is the headline."""
    page = render_report(replace(report, comparisons=(), success_bars=report.success_bars[:1]))

    words = "".join(Outline(page).text)
    assert "Starting policy succeeds in 44 of 150 episodes." in words
    assert "It was compared with no other policy." in words


def test_warnings_are_said_in_words(report: IterationReport) -> None:
    """A warning is not only a colour."""
    note = Note(text="No cameras: there is no GL context.", severity="warning")

    words = "".join(Outline(render_report(replace(report, notes=(note,)))).text)

    assert "Warning: No cameras: there is no GL context." in words


def test_text_that_is_not_unicode_is_still_written(tmp_path: Path) -> None:
    """An undecodable file name does not cost the report."""
    broken = IterationReport(
        title="odd", success_bars=(), costs=(Fact(label="path", value="caf\udce9"),)
    )

    write_html(broken, tmp_path / "index.html")

    assert b"caf?" in (tmp_path / "index.html").read_bytes()


def test_every_artifact_is_listed_with_its_whole_id(
    report: IterationReport, page_words: str
) -> None:
    """The graph has a table beside it."""
    assert report.lineage is not None

    for artifact in report.lineage.nodes:
        assert isinstance(artifact, LineageNode)
        assert artifact.id in page_words
