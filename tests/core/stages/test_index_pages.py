"""Pages over all rounds: complete, linked, escaped, and robust against a damaged store."""

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from recap_core.config.gate import GateDecision, TaskComparison
from recap_core.config.iteration import RecordIterationConfig
from recap_core.errors import ArtifactNotFoundError, ConfigError
from recap_core.lineage.artifacts import Iteration
from recap_core.lineage.iterations import RECORD_FILE, iteration_records
from recap_core.lineage.store import Store
from recap_core.stages.index_pages import Site, write_index, write_site
from recap_core.stages.index_rounds import Rounds
from recap_core.stages.index_snapshot import read_snapshot, state_of
from recap_core.stages.record_iteration import record_iteration
from tests.generated_store import OTHER_PROJECT, OTHER_ROBOT, PROJECT, ROBOT, GeneratedStore

VOID = {"meta", "img", "br", "link", "input", "hr"}
ATTACK = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Tags, attributes, ids and links of a page; raises where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that is opened."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that the innermost element is the one that ends."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.words.append(data)

    def values(self, name: str) -> list[str]:
        """Values of every attribute of that name."""
        return [value for key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def exported(finished_rounds: GeneratedStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages of the store as a directory."""
    target = tmp_path_factory.mktemp("export") / "site"
    write_site(finished_rounds.store, target)
    return target


@pytest.fixture
def own_store(finished_rounds: GeneratedStore, tmp_path: Path) -> Store:
    """A copy that a test may change."""
    home = tmp_path / "home"
    shutil.copytree(finished_rounds.store.home, home)
    return Store(home)


def pages_of(exported: Path) -> Iterator[tuple[Path, Page]]:
    """Every page with its outline."""
    for path in sorted(exported.rglob("*.html")):
        yield path, Page(path.read_text(encoding="utf-8"))


def attack(store: Store) -> Iteration:
    """A round whose reasons, tasks and settings are scripts."""
    [first, *_] = iteration_records(store, PROJECT, ROBOT)
    decision = GateDecision(
        verdict="kept",
        reasons=(ATTACK, ATTACK),
        tasks=(TaskComparison(task=ATTACK, num_episodes=3, current_rate=0.5, new_rate=0.25),),
    )
    parts: dict[str, Any] = {
        role: store.get(id_)
        for role in ("policy", "after", "value_model", "labels")
        if (id_ := first.id(role))
    }
    for round_index, value in ((1, "plain"), (2, ATTACK)):
        config = RecordIterationConfig(
            project="hostile",
            robot="arm",
            round_index=round_index,
            decision=decision,
            settings={ATTACK: value},
        )
        record = record_iteration(parts, config, name="round", store=store)
    return record


def test_every_link_of_an_export_leads_somewhere(exported: Path) -> None:
    """Files exist, and so do the places in them; nothing leads out of the directory."""
    pages = dict(pages_of(exported))
    ids = {path: set(page.values("id")) for path, page in pages.items()}
    num_links = 0
    for path, page in pages.items():
        for address in page.values("href"):
            file, _, anchor = address.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target in ids, f"{path} leads to {address}"
            assert not anchor or anchor in ids[target], f"{path} leads to {address}"
            num_links += 1

    assert num_links > 500


def test_every_artifact_and_round_has_a_page(
    finished_rounds: GeneratedStore, exported: Path
) -> None:
    """One per artifact, one per round, one per project, and the first one."""
    manifests = list(finished_rounds.store.artifacts())

    assert {path.stem for path in (exported / "artifacts").iterdir()} == {m.id for m in manifests}
    assert len(list((exported / "iterations").iterdir())) == 4
    assert (exported / "projects" / OTHER_PROJECT / OTHER_ROBOT / "index.html").is_file()
    first = Page((exported / "index.html").read_text())
    assert f"projects/{PROJECT}/{ROBOT}/index.html" in first.values("href")


def test_pages_load_nothing_and_run_nothing(exported: Path) -> None:
    """No script, no picture from elsewhere, and a policy that forbids both."""
    for path, page in pages_of(exported):
        if path.parent.parent.name == "reports":
            continue  # the generated store's reports are none of ours
        assert not {"script", "iframe", "object", "embed", "link"} & set(page.tags)
        assert page.tags.count("h1") == 1
        assert any("default-src 'none'" in value for value in page.values("content"))
        assert not re.search(r"https?:|url\(|@import", path.read_text())


def test_a_round_row_says_what_the_manifests_say(finished_rounds: GeneratedStore) -> None:
    """Rates, labels, health and new episodes are those of the round's own parts."""
    store = finished_rounds.store
    rows = Rounds(read_snapshot(store)).of(PROJECT, ROBOT)
    [record] = [r for r in iteration_records(store, PROJECT, ROBOT) if r.id("after")][1:2]
    after = store.manifest(store.get(str(record.id("after"))))
    recordings = [store.get(id_).details() for id_ in record.ids("recordings")]

    row = rows[1]

    assert [r.round_index for r in rows] == [1, 2, 3]
    assert row.id == record.artifact.id
    assert row.new is not None
    assert row.new.rate == pytest.approx(after.metrics["success_rate"])
    assert row.num_new_episodes == sum(details["num_episodes"] for details in recordings)
    assert row.value is not None
    assert row.value.healthy
    assert row.labels is not None
    assert row.labels.total == store.get(str(record.id("labels"))).details()["num_frames"]


def test_a_round_does_not_pay_for_what_an_earlier_one_made(
    finished_rounds: GeneratedStore,
) -> None:
    """A stage's time is counted in the first round that has its result, and in no other."""
    rows = Rounds(read_snapshot(finished_rounds.store)).of(PROJECT, ROBOT)

    made = [cost.artifact_id for row in rows for cost in row.costs]

    assert len(made) == len(set(made))
    assert all(row.costs for row in rows)


def test_text_from_outside_stays_text(own_store: Store, tmp_path: Path) -> None:
    """Reasons, tasks and settings that are scripts are shown as what they are."""
    record = attack(own_store)
    site = Site(own_store)
    lone = tmp_path / "rounds.html"
    write_index(own_store, lone, ("hostile", "arm"))

    texts = [site.home(), site.project("hostile", "arm"), site.iteration(record.id)]
    texts += [site.artifact(record.id), lone.read_text(), site.message(ATTACK, ATTACK)]

    for text in texts:
        page = Page(text)
        assert not {"script", "img"} & set(page.tags)
        assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert ATTACK in "".join(Page(texts[2]).words)
    assert f"{ATTACK}" in Page(texts[1]).values("title")[0] + "".join(Page(texts[1]).words)


def test_what_changed_between_rounds_is_told(own_store: Store) -> None:
    """The setting that differs stands there with both of its values."""
    attack(own_store)

    text = "".join(Page(Site(own_store).project("hostile", "arm")).words)

    assert "Round 2: 2 settings" not in text
    assert "Round 2: 1 setting" in text
    assert "plain" in text


def test_a_lone_page_leads_to_reports_only(finished_rounds: GeneratedStore, tmp_path: Path) -> None:
    """By itself a page has no other pages; reports are where they lie in the store."""
    target = tmp_path / "rounds.html"

    size = write_index(finished_rounds.store, target, (PROJECT, ROBOT))

    assert size == target.stat().st_size
    links = Page(target.read_text()).values("href")
    outside = [link for link in links if not link.startswith("#")]
    assert len(outside) == 3
    assert all(Path(link.removeprefix("file://")).is_file() for link in outside)


def test_an_export_does_not_touch_what_is_there(
    finished_rounds: GeneratedStore, tmp_path: Path
) -> None:
    """A directory with content is refused and kept."""
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(ConfigError, match="not an empty directory"):
        write_site(finished_rounds.store, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_removed_part_is_named_without_a_link(own_store: Store) -> None:
    """Garbage collection may take a copy; its round says so and leads to what is left."""
    [record, *_] = iteration_records(own_store, PROJECT, ROBOT)
    removed = own_store.get(str(record.id("copy")))
    own_store.remove(removed)

    page = Page(Site(own_store).iteration(record.artifact.id))

    assert f"/artifacts/{removed.id}" not in page.values("href")
    assert "no longer in the store" in "".join(page.words)
    assert removed.name in "".join(page.words)


def test_a_damaged_round_still_has_its_row(own_store: Store) -> None:
    """Settings that cannot be read cost the settings, not the pages."""
    [record, *_] = iteration_records(own_store, PROJECT, ROBOT)
    path = own_store.path(record.artifact) / RECORD_FILE
    path.chmod(0o644)
    path.write_text('{"project":')

    site = Site(own_store)

    assert "cannot be read" in "".join(Page(site.project(PROJECT, ROBOT)).words)
    assert "cannot be read" in "".join(Page(site.iteration(record.artifact.id)).words)


def test_a_manifest_that_cannot_be_read_is_counted(own_store: Store) -> None:
    """The first page says that something is there which it cannot show."""
    manifest = next(iter(own_store.artifacts()))
    path = own_store.path(manifest.artifact()) / "artifact.json"
    path.chmod(0o644)
    path.write_text("{")

    site = Site(own_store)

    assert "1 more cannot be read" in "".join(Page(site.home()).words)
    with pytest.raises(ArtifactNotFoundError, match="no readable artifact"):
        site.artifact(manifest.id)


def test_an_empty_store_has_a_first_page(tmp_path: Path) -> None:
    """Before the first round the page says how to run one; nothing is created."""
    home = tmp_path / "home"

    text = "".join(Page(Site(Store(home)).home()).words)

    assert "recap demo" in text
    assert not home.exists()


def test_a_round_done_anew_stands_once(own_store: Store) -> None:
    """The last one counts; the earlier one is still an artifact with a page."""
    record = iteration_records(own_store, PROJECT, ROBOT)[-1]
    config = record.record(own_store)
    parts = {"policy": own_store.get(str(record.id("policy")))}
    again = record_iteration(
        parts,
        config.model_copy(update={"decision": GateDecision(verdict="kept")}),
        name="round-3",
        store=own_store,
    )

    site = Site(own_store)

    rows = Rounds(site.snapshot).of(PROJECT, ROBOT)
    assert [row.id for row in rows][-1] == again.id
    assert len(rows) == 3
    assert record.artifact.name in site.artifact(record.artifact.id)
    with pytest.raises(ArtifactNotFoundError, match="done anew"):
        site.iteration(record.artifact.id)


def test_the_state_changes_with_refs_and_artifacts(own_store: Store) -> None:
    """What is kept in memory is dropped when, and only when, there is something new."""
    before = state_of(own_store)
    assert state_of(own_store) == before

    own_store.set_ref(f"{PROJECT}/{ROBOT}/candidate", next(iter(own_store.artifacts())).artifact())
    moved = state_of(own_store)
    attack(own_store)

    assert len({before, moved, state_of(own_store)}) == 3


def test_a_served_report_leads_to_artifacts(own_store: Store) -> None:
    """Boxes that lead down the page of a file lead to artifacts' pages where these exist."""
    record = iteration_records(own_store, PROJECT, ROBOT)[-1]
    report = own_store.get(str(record.id("report")))
    policy = str(record.id("policy"))
    path = own_store.path(report) / "index.html"
    path.chmod(0o644)
    page = f'<body>\n<a href="#artifact-{policy}">a</a><a href="#artifact-{"0" * 32}">b</a></body>'
    path.write_text(page)

    links = Page(Site(own_store).report(report.id)).values("href")

    assert f"/artifacts/{policy}" in links
    assert f"#artifact-{'0' * 32}" in links
    assert f"/iterations/{record.artifact.id}" in links
