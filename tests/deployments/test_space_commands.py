"""``recap gc``, ``why-rerun`` and the text of a plan."""

import json
import socket
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.cli.plan_text import plain_plan, plan_rows, plan_totals, print_plan
from deployments.cli.quantities import bytes_text, count_text, seconds_text
from recap_core.config.base import Config
from recap_core.config.dataset import ConvertConfig, MergeConfig
from recap_core.config.labels import LabelConfig
from recap_core.errors import ArtifactNotFoundError, ConfigError
from recap_core.lineage.artifacts import Artifact, Dataset, Labels
from recap_core.lineage.iterations import iteration_records
from recap_core.lineage.keys import Inputs
from recap_core.lineage.store import Store
from tests.generated_store import GeneratedStore


@pytest.fixture
def home(eight_rounds: GeneratedStore) -> Path:
    """Eight rounds of one project, one of another; nothing here changes them."""
    return eight_rounds.store.home


@pytest.fixture(autouse=True)
def _environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAP_HOME", str(home))


def recap(*arguments: str) -> str:
    """What a command prints."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


NOW = ("-s", "recent_hours=0", "-s", "unused_days=0", "-s", "work_days=0", "--keep-rounds", "2")


def test_a_dry_run_says_what_would_go_and_changes_nothing(home: Path) -> None:
    """Both for people and for programs."""
    before = sorted(str(path) for path in home.rglob("*"))
    text = recap("gc", "--dry-run", *NOW)
    told = json.loads(recap("gc", "--dry-run", "--json", *NOW))

    assert "round-1-merged" in text
    assert "merged of handover/aloha round 1, which is older" in text
    assert f"frees {bytes_text(told['freed_bytes'])}." in text
    assert {item["kind"] for item in told["removed"]} == {
        "dataset", "dataset_copy", "relabeled_dataset"
    }  # fmt: skip
    assert any("of 2 rounds" in k["reason"] or "last 2 rounds" in k["reason"] for k in told["kept"])
    assert sorted(str(path) for path in home.rglob("*")) == before


def test_the_policy_may_stand_in_the_project_s_file(tmp_path: Path) -> None:
    """``runtime.retention``; what the command says wins."""
    file = tmp_path / "recap.yaml"
    file.write_text("runtime: {retention: {keep_rounds: 8, recent_hours: 0, unused_days: 0}}\n")
    kept = json.loads(recap("gc", "--dry-run", "--json", "-c", str(file)))
    fewer = json.loads(recap("gc", "--dry-run", "--json", "-c", str(file), "--keep-rounds", "1"))

    assert kept["removed"] == []
    assert {item["name"] for item in fewer["removed"]} >= {"round-1-merged", "round-6-copy"}


def test_a_project_that_is_not_there_is_an_error() -> None:
    """A mistyped one would never free anything; the robot may be left out."""
    for command in (["gc", "--dry-run"], ["why-rerun", "label"]):
        with pytest.raises(ConfigError, match=r"no project 'handovr'.*handover/aloha"):
            CliRunner().invoke(app, [*command, "--project", "handovr"], catch_exceptions=False)
    short = recap("gc", "--dry-run", "--json", *NOW, "--project", "handover")
    assert json.loads(short)["removed"]
    assert "round-8" in recap("why-rerun", "train-value", "--project", "handover")


def test_nothing_goes_without_a_yes() -> None:
    """Where nobody can be asked."""
    with pytest.raises(ConfigError, match="say --yes"):
        CliRunner().invoke(app, ["gc", "--json", *NOW], catch_exceptions=False)


def test_an_unknown_store_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rather than made."""
    monkeypatch.setenv("RECAP_HOME", str(tmp_path / "none"))
    with pytest.raises(ArtifactNotFoundError, match="there is no store at"):
        CliRunner().invoke(app, ["gc"], catch_exceptions=False)


def test_why_a_stage_ran_again() -> None:
    """Its newest result of a project: what decides about reuse, and what is new in it."""
    text = recap("why-rerun", "merge", "--project", "handover/aloha")
    told = json.loads(recap("why-rerun", "merge", "--project", "handover/aloha", "--json"))

    assert text.startswith("dataset round-8-merged-")
    assert "input datasets: round-8-" in text
    assert "is new" in text
    assert {d["what"] for d in told["differences"]} == {"input"}
    assert told["parts"]["stage"] == "merge"


def test_why_an_artifact_was_made(home: Path) -> None:
    """By ref; its inputs are followed, and each explained once."""
    text = recap("why-rerun", "handover/aloha/round-3-relabeled")
    assert recap("why-rerun", "round-3-relabeled", "--project", "handover") == text
    assert recap("why-rerun", "current", "--project", "handover").startswith("policy checkpoint ")
    assert "input copy: round-2-copy-" in text
    assert "explained above" in text
    with pytest.raises(ArtifactNotFoundError, match=r"no stage with a result in .*train-value"):
        CliRunner().invoke(app, ["why-rerun", "trainvalue"], catch_exceptions=False)
    assert Store(home).refs()


@dataclass
class _Stage:
    """A planned stage made by hand."""

    stage: str
    name: str
    config: Config
    inputs: Inputs
    artifact: Artifact | None = None
    is_cached: bool = False
    key: str | None = None
    is_refreshed: bool = field(default=False)


def _planned(kind: type[Artifact], name: str, parents: list[Artifact]) -> Artifact:
    return kind.model_construct(
        id=f"planned-{name:0<24}"[:32], name=name, digest="",
        parents=tuple(parent.id for parent in parents),
    )  # fmt: skip


@pytest.fixture
def plan(home: Path) -> list[_Stage]:
    """Round 9: its recording is there; conversion, merge and labels are not."""
    store = Store(home)
    record = iteration_records(store, "handover")[-1]
    recording, values = (store.get(str(record.id(role))) for role in ("recordings", "values"))
    before = store.manifest(store.get(str(record.id("merged"))))
    made_from = [(parent.role, store.get(parent.id)) for parent in before.parents]
    datasets = [artifact for role, artifact in made_from if role == "datasets"]
    others = {role: artifact for role, artifact in made_from if role != "datasets"}
    rule = store.manifest(store.get(str(record.id("labels")))).config
    fresh = _planned(Dataset, "round-9", [recording])
    merged = _planned(Dataset, "round-9-merged", [*datasets, fresh, *others.values()])
    return [
        _Stage("collect", "round-9", Config(), {}, recording, is_cached=True),
        _Stage("convert", "round-9", ConvertConfig(target_fps=5), {"recording": recording}),
        _Stage("merge", "round-9-merged", MergeConfig(),
               {"datasets": [*datasets, fresh], **others}),
        _Stage("label", "round-9", LabelConfig.model_validate({**rule, "positive_share": 0.11}),
               {"dataset": merged, "values": values}),
    ]  # fmt: skip


def test_a_plan_says_why_each_stage_would_run(home: Path, plan: list[_Stage]) -> None:
    """Against the nearest earlier result; an input that is made before is named as that."""
    rows = plan_rows(plan, Store(home), project="handover/aloha")
    cached, convert, merge, label = rows

    assert cached.is_cached
    assert cached.reason == ""
    assert "setting target_fps: null -> 5" in convert.reason
    assert "round-9 (to be made) is new" in merge.reason
    assert "-> 0.11; input dataset: round-8-merged-" in label.reason


def test_a_plan_expects_what_the_stages_took(home: Path, plan: list[_Stage]) -> None:
    """Time and disk of past results, in sum; and whether that fits."""
    store = Store(home)
    rows = plan_rows(plan, store, project="handover/aloha")
    totals = plan_totals(rows, store)

    assert (totals.num_cached, totals.num_running, totals.num_unknown) == (1, 3, 0)
    assert totals.new_bytes == sum(row.estimate.new_bytes or 0 for row in rows) > 0
    assert totals.fits
    assert not totals._replace(free_bytes=totals.new_bytes).fits
    assert plain_plan(rows, store)["stages"][1]["why"]["differences"]


def test_a_plan_is_a_table_for_people(home: Path, plan: list[_Stage]) -> None:
    """With sums below it."""
    store = Store(home)
    rows = plan_rows(plan, store, project="handover/aloha")
    page = StringIO()
    print_plan(rows, store, Console(file=page, width=140))

    narrow = StringIO()
    print_plan(rows, store, Console(file=narrow, width=80))

    beside, below = narrow.getvalue().split("because\n")
    assert rows[1].reason.split()[0] not in beside
    assert f"{rows[1].name}: {rows[1].reason}"[:60] in below
    assert "3 of 4 stages would run, 1 are cached." in page.getvalue()
    assert "are free." in page.getvalue()


def test_on_a_new_machine_time_is_unknown(
    home: Path, plan: list[_Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took a second elsewhere says nothing."""
    monkeypatch.setattr(socket, "gethostname", lambda: "new")
    rows = plan_rows(plan, Store(home), project="handover/aloha")

    assert [row.estimate.seconds for row in rows if not row.is_cached] == [None] * 3
    assert all(row.estimate.new_bytes for row in rows if not row.is_cached)


def test_a_stage_that_is_asked_for_anew_says_so(home: Path, plan: list[_Stage]) -> None:
    """It has a result, and runs all the same."""
    store = Store(home)
    labels = store.get(str(iteration_records(store, "handover")[-1].id("labels")))
    assert isinstance(labels, Labels)
    plan[3].artifact, plan[3].is_refreshed = labels, True

    assert plan_rows(plan, store, project=None)[3].reason == "asked for anew"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (bytes_text(999), "999 B"),
        (bytes_text(1_000), "1.0 kB"),
        (bytes_text(123_400_000), "123 MB"),
        (bytes_text(5_500_000_000_000_000), "5500 TB"),
        (seconds_text(3.21), "3.2 s"),
        (seconds_text(185), "3 min 05 s"),
        (seconds_text(15_600), "4 h 20 min"),
        (count_text(1, "artifact"), "1 artifact"),
        (count_text(2_000, "artifact"), "2,000 artifacts"),
    ],
)
def test_quantities_as_people_read_them(text: str, expected: str) -> None:
    """Three digits at most, and nouns that agree."""
    assert text == expected
