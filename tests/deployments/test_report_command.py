"""``recap report`` as a user meets it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from recap_core.errors import ArtifactNotFoundError, ConfigError
from tests.generated_store import OTHER_PROJECT, OTHER_ROBOT, PROJECT, ROBOT, GeneratedStore


@pytest.fixture
def home(finished_rounds: GeneratedStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store with four rounds."""
    monkeypatch.setenv("RECAP_HOME", str(finished_rounds.store.home))
    return finished_rounds.store.home


def recap_report(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.mark.usefixtures("home")
def test_the_last_round_s_report_is_named() -> None:
    """Without a word more, the path of a page that exists."""
    done = recap_report()

    assert done.exit_code == 0
    assert Path(done.stdout.strip()).name == "index.html"
    assert "Round 1" in Path(done.stdout.strip()).read_text()  # of the project made last


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["2", f"{PROJECT}/{ROBOT}/round-2"])
def test_a_round_is_named_by_number_or_ref(name: str) -> None:
    """Both lead to the same one, and JSON tells its decision."""
    done = recap_report(name, "--project", f"{PROJECT}/{ROBOT}", "--json")

    answer = json.loads(done.stdout)
    assert (answer["project"], answer["round"]) == (PROJECT, 2)
    assert answer["verdict"] in {"promoted", "candidate", "kept"}
    assert Path(answer["report"]).is_file()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["1"], ConfigError, f"{PROJECT}/{ROBOT}, {OTHER_PROJECT}/{OTHER_ROBOT}"),
        (["99"], ArtifactNotFoundError, "round 99 has not finished"),
        ([f"{PROJECT}/{ROBOT}/current"], ArtifactNotFoundError, "no finished round"),
        (["--project", "nobody"], ArtifactNotFoundError, "no round of project 'nobody'"),
    ],
)
def test_what_is_not_there_is_explained(
    arguments: list[str], kind: type[Exception], words: str
) -> None:
    """The error says what there is instead."""
    error = recap_report(*arguments).exception

    assert isinstance(error, kind)
    assert words in str(error)


@pytest.mark.usefixtures("home")
def test_all_rounds_are_written_to_one_file(tmp_path: Path) -> None:
    """An existing file is kept unless --force is given."""
    target = tmp_path / "rounds.html"

    done = recap_report("--project", PROJECT, "--index", target)
    assert done.exit_code == 0
    assert "3 rounds of handover/aloha" in done.stdout
    assert "handover on aloha" in target.read_text()

    assert recap_report("--project", PROJECT, "--index", target).exit_code != 0
    assert recap_report("--project", PROJECT, "--index", target, "--force").exit_code == 0


@pytest.mark.usefixtures("home")
def test_all_pages_are_written_to_a_directory(tmp_path: Path) -> None:
    """The answer names the first page and counts all of them."""
    answer = json.loads(recap_report("--export", tmp_path / "site", "--json").stdout)

    pages = list((tmp_path / "site").rglob("*.html"))
    assert answer["pages"] == len(pages)
    assert Path(answer["index"]) in pages
