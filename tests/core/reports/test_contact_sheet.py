"""The contact sheet: what it shows, that it needs nothing, and that it does not trust text."""

import base64
import hashlib
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from recap_core.data.frames import read_frames
from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    synthetic_grey,
    write_synthetic_dataset,
)
from recap_core.labels.adv_ind import NEGATIVE, NONE, POSITIVE
from recap_core.reports.contact_sheet import render_contact_sheet, source_name, write_contact_sheet
from recap_core.reports.sheet_drawings import (
    episode_drawing,
    hover_data,
    joint_columns,
    joint_drawing,
    joints,
    length_histogram,
)
from recap_core.reports.tracks import (
    DEMONSTRATION,
    IS_PAUSED,
    OPERATOR,
    POLICY,
    DatasetTracks,
    EpisodeTracks,
    Judgement,
    Vector,
)
from recap_core.stages.view_sheet import contact_sheet, frames_to_show, spread

ATTACK = "</script><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
EPISODES = (
    SyntheticEpisode(length=12),
    SyntheticEpisode(length=20, interventions=(8, 9, 10, 11)),
    SyntheticEpisode(length=10, success=False, paused=(3,), interventions=(4, 5), task=ATTACK),
    SyntheticEpisode(length=8, demonstration=True),
)
ROBOT = SyntheticRobot(arms=("left",), cameras=("head_camera", "wrist_camera"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A success, a rescue, a failure of a hostile task, a demonstration."""
    root = tmp_path_factory.mktemp("sheet") / "dataset"
    write_synthetic_dataset(root, EPISODES, ROBOT)
    return root


@pytest.fixture(scope="module")
def tracks(dataset: Path) -> DatasetTracks:
    """The dataset, judged by hand: V rises, every third frame is positive."""
    table = read_frames(dataset)
    codes = np.where(np.arange(table.num_frames) % 3 == 0, POSITIVE, NEGATIVE).astype(np.int8)
    judgement = Judgement(
        values=np.linspace(-1, 0, table.num_frames, dtype=np.float32),
        values_from="values-12345678",
        advantage=np.where(codes == POSITIVE, 0.1, -0.1).astype(np.float32),
        adv_ind=codes,
        labels_from="labels-12345678",
        thresholds={"transfer cube": 0.05},
    )
    return DatasetTracks(table, judgement, name="monday")


@pytest.fixture(scope="module")
def page(tracks: DatasetTracks) -> str:
    """The sheet of all its episodes."""
    return render_contact_sheet(contact_sheet(tracks, [0, 1, 2, 3]))


class Elements(HTMLParser):
    """Start tags with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text.append(data)

    def having(self, tag: str, class_: str = "") -> list[dict[str, str]]:
        """Attributes of elements of that name and class."""
        wanted = {class_} - {""}
        return [a for t, a in self.found if t == tag and wanted <= {*a.get("class", "").split()}]


def hand_made(driver: list[int], labels: list[int], **changes: object) -> EpisodeTracks:
    """An episode of which only the strips matter."""
    fields: dict[str, object] = {
        "episode_index": 7,
        "first_index": 0,
        "fps": 10,
        "task": "t",
        "task_index": 0,
        "round_index": 1,
        "source": "s",
        "ending": "success",
        "value_label": None,
        "values": None,
        "advantage": None,
        "threshold": None,
        "adv_ind": np.array(labels, dtype=np.int8),
        "driver": np.array(driver, dtype=np.int8),
        "phase": None,
        "reward": None,
        "state": None,
        "action": None,
    }
    return EpisodeTracks(**(fields | changes))  # pyright: ignore[reportArgumentType] - by name


def spans(markup: str, kind: str) -> list[tuple[str, float, float]]:
    """(class, start, width) in percent of the strips' rectangles of a kind."""
    found = []
    for element in ET.fromstring(markup).iter("rect"):  # noqa: S314 - our own drawing
        first, _, name = element.get("class", "").partition(" ")
        if first == kind:
            x, width = (float(element.get(key, "").rstrip("%")) for key in ("x", "width"))
            found.append((name, x, width))
    return found


def test_strips_have_a_span_for_every_stretch() -> None:
    """Ten frames: four of the policy, one paused, three of the operator, two of the policy."""
    episode = hand_made(
        driver=[POLICY] * 4 + [IS_PAUSED] + [OPERATOR] * 3 + [POLICY] * 2,
        labels=[NEGATIVE] * 4 + [NONE] + [POSITIVE] * 5,
    )

    drawing = str(episode_drawing(episode))

    assert spans(drawing, "driver") == [
        ("policy", 0, 40), ("paused", 40, 10), ("operator", 50, 30), ("policy", 80, 20),
    ]  # fmt: skip
    assert spans(drawing, "label") == [("negative", 0, 40), ("none", 40, 10), ("positive", 50, 50)]
    assert spans(drawing, "human-span") == [("", 50, 30)]


def test_a_demonstration_is_no_takeover() -> None:
    """It has its own colour, and no shade behind the curves."""
    drawing = str(episode_drawing(hand_made([DEMONSTRATION] * 5, [POSITIVE] * 5)))

    assert spans(drawing, "driver") == [("demonstration", 0, 100)]
    assert spans(drawing, "human-span") == []


def test_panels_appear_with_what_they_show() -> None:
    """No value, no panel; an advantage that is nowhere defined has none either."""
    plain = hand_made([POLICY] * 4, [NONE] * 4)
    valued = hand_made([POLICY] * 4, [NONE] * 4, values=np.linspace(-1, 0, 4))
    undefined = hand_made([POLICY] * 4, [NONE] * 4, advantage=np.full(4, np.nan))
    judged = hand_made([POLICY] * 4, [NONE] * 4, advantage=np.array([0, 0.1, 0.2, np.nan]))

    assert "panel-name" not in episode_drawing(plain)
    assert ">value V<" in episode_drawing(valued)
    assert ">advantage<" not in episode_drawing(undefined)
    assert ">advantage<" in episode_drawing(judged)


def test_frames_of_takeovers_are_shown_and_their_neighbours_give_way() -> None:
    """Of 100 frames: ends, the first and last frame of the takeover, and the far even ones."""
    is_corrected = np.zeros(100, dtype=bool)
    is_corrected[32:46] = True

    shown = frames_to_show(is_corrected)

    assert shown == (0, 11, 22, 32, 45, 55, 66, 77, 88, 99)


@pytest.mark.parametrize("num_frames", [1, 2, 7, 1000])
def test_frames_of_any_episode_are_inside_it(num_frames: int) -> None:
    """Rising, first and last among them, few even if the operator takes over all the time."""
    shown = frames_to_show(np.arange(num_frames) % 2 == 1)

    assert list(shown) == sorted(set(shown))
    assert shown[0] == 0
    assert shown[-1] == num_frames - 1
    assert len(shown) <= 16


def test_episodes_are_spread_over_the_dataset() -> None:
    """All of a small one; of a large one as many as asked for, both ends among them."""
    assert spread(3, 24) == [0, 1, 2]
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(10, 1) == [0]
    assert len(set(spread(1000, 24))) == 24


def test_the_page_loads_nothing_from_outside(page: str) -> None:
    """Pictures are inside; links lead to its own episodes; the policy forbids the rest."""
    elements = Elements(page)

    assert not {"link", "iframe", "object", "embed"} & {tag for tag, _ in elements.found}
    sources = [a["src"] for _, a in elements.found if "src" in a]
    assert len(sources) == len(elements.having("img"))
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    ids = {a["id"] for _, a in elements.found if "id" in a}
    links = [a["href"] for _, a in elements.found if "href" in a]
    assert len(links) == 4
    assert all(link.removeprefix("#") in ids for link in links)
    assert not re.search(r"https?:|@import|url\(", re.sub(r"base64,[^\"]*", "", page))


def test_the_policy_allows_this_script_alone(page: str) -> None:
    """Its hash is that of the only script in the page."""
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    policy = next(a["content"] for a in Elements(page).having("meta") if "http-equiv" in a)

    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_pictures_are_the_episode_s_frames(page: str, tracks: DatasetTracks) -> None:
    """Every thumbnail decodes to the grey level of its episode, frame and camera."""
    pictures = iter(Elements(page).having("img"))

    for number, episode in enumerate(EPISODES):
        shown = frames_to_show(tracks.episode(number).driver == OPERATOR)
        for camera in range(len(ROBOT.cameras)):
            greys = synthetic_grey(number, episode.length, camera)
            for frame in shown:
                content = next(pictures)["src"].partition(",")[2]
                pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
                assert pixels.shape == (32, 32, 3)
                assert abs(float(pixels.mean()) - greys[frame]) < 6
    assert next(pictures, None) is None


def test_the_summary_counts_the_whole_dataset(tracks: DatasetTracks) -> None:
    """Even where one episode is shown; the page says what it leaves out."""
    words = " ".join(Elements(render_contact_sheet(contact_sheet(tracks, [1]))).text)
    words = " ".join(words.replace("\N{NARROW NO-BREAK SPACE}", " ").split())

    assert "1 of 4 episodes are shown; 3 are left out." in words
    assert "75.0 % 3 of 4" in words  # succeed
    assert "12.0 % 6 frames in 2 episodes" in words  # corrected: 4 + 2 of 50
    assert "Values from values-12345678; labels from labels-12345678." in words
    assert "20 frames · round 1 · synthetic" in words
    assert "threshold +0.050" in words


def test_hostile_text_stays_text(page: str, tmp_path: Path) -> None:
    """A task that is a script is shown as such, and nothing of it becomes an element."""
    elements = Elements(page)

    assert page.count("<script>") == 1
    assert not [a for _, a in elements.found if any(name.startswith("on") for name in a)]
    assert all(a["src"] != "x" for a in elements.having("img"))
    assert ATTACK in "".join(elements.text)
    assert str(tmp_path.parent) not in page


def test_equal_data_give_equal_bytes(tracks: DatasetTracks, page: str, tmp_path: Path) -> None:
    """Gathering and rendering twice is doing it once."""
    size = write_contact_sheet(contact_sheet(tracks, [0, 1, 2, 3]), tmp_path / "page.html")

    assert (tmp_path / "page.html").read_text() == page
    assert size == (tmp_path / "page.html").stat().st_size


def test_episodes_carry_the_classes_that_filters_use(page: str) -> None:
    """Outcome, takeovers and task."""
    classes = [a["class"] for a in Elements(page).having("article", "sheet-episode")]

    assert [c.replace("card sheet-episode ", "") for c in classes] == [
        "success task-0", "success corrected task-0", "failure corrected task-1", "success task-0",
    ]  # fmt: skip


def test_the_pointer_is_told_numbers_of_its_frame() -> None:
    """Thousandths, empty where undefined; long episodes in steps."""
    short = hand_made(
        [POLICY, OPERATOR], [NONE, POSITIVE], values=np.array([-1, -0.25]),
        advantage=np.array([np.nan, 0.0125]),
    )  # fmt: skip
    long = hand_made([POLICY] * 1300, [NONE] * 1300)

    told = hover_data(short)

    assert (told["data-values"], told["data-advantage"]) == ("-1000,-250", ",12")
    assert (told["data-labels"], told["data-drivers"]) == ("02", "02")
    assert hover_data(long)["data-stride"] == "3"
    assert len(hover_data(long)["data-drivers"]) == 434


def test_joints_tell_their_range_and_what_is_odd() -> None:
    """A moving joint, one that stands still, and one with a gap."""
    t = np.arange(5, dtype=np.float32)
    values = np.stack([0.25 * t, np.full(5, 0.5, np.float32), t], axis=1)
    values[2, 2] = np.nan

    moving, still, broken = joints(Vector(names=("a", "b", "c"), values=values))

    assert (moving.reach, moving.is_constant) == ("0.00 to 1.00", False)
    assert (still.reach, still.is_constant) == ("0.50 throughout", True)
    assert broken.reach == "1 not finite; 0.00 to 4.00"
    assert "<path" in joint_drawing(np.full(3, np.nan, np.float32))
    assert [joint_columns(n) for n in (1, 7, 8, 9, 14, 16)] == [1, 7, 8, 5, 7, 8]


def test_the_histogram_holds_every_episode_once() -> None:
    """Heights of a bin add up; episodes of one length make one bin."""
    some = length_histogram({"success": np.array([1.0, 1.0, 3.0]), "failure": np.array([1.0])})
    equal = length_histogram({"unknown": np.array([2.0, 2.0])})

    assert "4 episodes last 1.0 to 3.0 s, 1.0 s in the middle" in some
    assert re.findall(r"s: (\d+) (\w+)<", str(some)) == [
        ("2", "success"), ("1", "failure"), ("1", "success"),
    ]  # fmt: skip
    assert re.findall(r"s: (\d+) (\w+)<", str(equal)) == [("2", "unknown")]


def test_an_artifact_id_is_shortened() -> None:
    """Other names stay as they are."""
    assert source_name("0123456789abcdef" * 2) == "01234567"
    assert source_name("monday") == "monday"


@pytest.mark.display
@pytest.mark.parametrize(("choice", "shown"), [("show-corrected", 2), ("task-0", 3)])
def test_filters_hide_the_others_in_a_browser(
    page: str, tmp_path: Path, *, choice: str, shown: int
) -> None:
    """With a choice made, the page itself counts what is visible."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on this machine; 'apt-get install chromium' brings it")
    group = choice.partition("-")[0]
    chosen = page.replace(f'id="{group}-all" checked', f'id="{group}-all"')
    path = tmp_path / "page.html"
    path.write_text(chosen.replace(f'id="{choice}"', f'id="{choice}" checked'))

    done = subprocess.run(  # noqa: S603 - the browser that was found, on our own file
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage", "--disable-background-networking",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom", path.as_uri(),
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip

    assert f"{shown} of 4 episodes shown" in done.stdout
