"""``recap deploy``: what it refuses, and whose flows it deploys."""

from pathlib import Path

import pytest

from deployments.cli.deploy_command import _projects
from deployments.cli.main import run
from deployments.cli.options import Preset
from recap_core.config.presets import plumbing_project
from recap_core.errors import ConfigError
from recap_core.lineage.project_files import list_projects, project_name, save_project


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no Prefect server answers there"),
        (("--nightly", "0 25 * * *"), "is no schedule"),
        (("--timezone", "Berlin"), "is no schedule"),
    ],
)
def test_what_cannot_be_deployed_is_one_line(
    options: tuple[str, ...],
    message: str,
    recap_home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that does not answer, nights that never come; nothing is saved."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("sys.argv", ["recap", "deploy", "--preset", "plumbing", *options])
    with pytest.raises(SystemExit):
        run()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not recap_home.exists()


def test_a_preset_alone_sets_a_project_up(recap_home: Path) -> None:
    """As with ``recap up``; a dry run saves nothing."""
    name = project_name(plumbing_project())

    assert _projects([], None, Preset.plumbing, is_saved=False) == [name]
    assert list_projects(recap_home) == []
    assert _projects([], None, Preset.plumbing, is_saved=True) == [name]
    assert list_projects(recap_home) == [name]


def test_saved_projects_are_deployed_or_the_one_that_is_named(recap_home: Path) -> None:
    """A project that is set up now is not one that was saved."""
    save_project(recap_home, plumbing_project())
    [name] = list_projects(recap_home)

    assert _projects([], None, None, is_saved=True) == [name]
    assert _projects([name], None, None, is_saved=True) == [name]
    with pytest.raises(ConfigError, match="leave out --config and --preset"):
        _projects([name], None, Preset.tiny, is_saved=True)
