"""Which project a command works with, and which of its settings it keeps."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from deployments.cli.options import Output, Preset
from deployments.cli.projects import SetUp, choose, demo_project, project
from deployments.cli.up_command import served_projects
from flows.settings import run_settings
from recap_core.config.flows import ProjectConfig
from recap_core.config.overlay import overlaid
from recap_core.config.presets import plumbing_project
from recap_core.errors import ConfigError
from recap_core.lineage.project_files import load_project, save_project
from recap_core.models.tokenizer import tokenizer_digest, tokenizer_path

SHARE = "iteration.label.positive_share=0.5"
PLUMBING = SetUp(Preset.plumbing, cameras=False)
QUIET = Output(json=True, verbose=False)


def save(home: Path, **names: str) -> ProjectConfig:
    project = plumbing_project(cameras=False).model_copy(update=names)
    save_project(home, project)
    return project


def shares(settings: dict[str, Any]) -> object:
    return settings["iteration"]["label"]["positive_share"]


@pytest.mark.usefixtures("recap_home")
@pytest.mark.parametrize("set_up", [SetUp(), PLUMBING, SetUp(seed=3)])
def test_the_first_run_sets_a_project_up_without_its_own_settings(set_up: SetUp) -> None:
    """``-s`` is of the run: the next night does not use it."""
    chosen = choose(set_up, saved=None, overrides=[SHARE])

    assert chosen.is_new
    assert chosen.saved == set_up.build(())
    assert chosen.changes == {"iteration": {"label": {"positive_share": 0.5}}}
    assert overlaid(chosen.saved, chosen.changes) == chosen.settings


def test_a_saved_project_is_used_and_stays_as_it_is(recap_home: Path) -> None:
    """No preset takes its place."""
    project = save(recap_home, project="cups")

    assert choose(SetUp(), saved=None, overrides=()).settings == project
    chosen = choose(SetUp(), saved="cups", overrides=[SHARE])

    assert (chosen.saved, chosen.is_new) == (project, False)
    assert shares(chosen.changes) == 0.5
    assert choose(PLUMBING, saved=None, overrides=()).is_new


def test_what_is_not_clear_is_refused(recap_home: Path) -> None:
    """With the projects that there are, and the option to use."""
    save(recap_home, project="cups")
    save(recap_home, project="plates")

    for saved, set_up, overrides, message in (
        (None, SetUp(), [], r"several projects.*--project: cups/sim-aloha, plates/sim-aloha"),
        ("forks", SetUp(), [], r"no project 'forks'.*cups/sim-aloha"),
        ("cups", PLUMBING, [], r"leave out --config"),
        ("cups", SetUp(), ["robot=yam"], r"robot=yam would make another project"),
    ):
        with pytest.raises(ConfigError, match=message):
            choose(set_up, saved=saved, overrides=overrides)


@pytest.mark.usefixtures("recap_home")
def test_the_name_of_a_new_project_is_kept() -> None:
    """``-s project=...`` names the project, which is more than a setting of one run."""
    chosen = choose(PLUMBING, saved=None, overrides=["project=cups", SHARE])

    assert chosen.name == "cups/sim-aloha"
    assert list(chosen.changes) == ["iteration"]


def test_the_demo_keeps_its_preset() -> None:
    """Whatever ``-s`` says."""
    chosen = demo_project(SetUp(Preset.plumbing, 3, cameras=False), [SHARE])

    assert chosen.name == "plumbing-seed-3/sim-aloha"
    assert shares(chosen.changes) == 0.5


def test_up_serves_what_is_saved_and_keeps_settings(recap_home: Path) -> None:
    """It is ``recap up`` that sets a project up."""
    cups, plates = save(recap_home, project="cups"), save(recap_home, project="plates")

    assert served_projects(SetUp(), (), (), QUIET) == [cups, plates]
    with pytest.raises(ConfigError, match=r"-s changes one project.*cups/sim-aloha, plates"):
        served_projects(SetUp(), (), [SHARE], QUIET)
    (changed,) = served_projects(SetUp(), ["cups"], [SHARE], QUIET)

    assert load_project(recap_home, "cups") == changed
    assert changed.iteration.label.positive_share == 0.5
    assert load_project(recap_home, "plates") == plates


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A tokenizer file of one's own."""
    file = tmp_path / "own.model"
    shutil.copyfile(tokenizer_path("tiny"), file)
    return file


def digests(project: ProjectConfig) -> tuple[str | None, str | None]:
    """Of the SFT's and the value model's prompt."""
    bootstrap, iteration = project.bootstrap, project.iteration
    return (
        bootstrap.sft.policy.prompt.tokenizer_digest,
        iteration.value.value.prompt.tokenizer_digest,
    )


def test_the_digest_of_a_saved_project_follows_the_tokenizer(
    recap_home: Path, tokenizer: Path
) -> None:
    """Another one is chosen with ``-s``, or in the settings of a form; or the file has changed."""
    base = project(Preset.plumbing, 0, cameras=False, file=None, overrides=())
    save_project(recap_home, base)
    old = tokenizer_digest(tokenizer)
    assert digests(base) == (old, old)
    with tokenizer.open("ab") as file:
        file.write(b"more")
    new = tokenizer_digest(tokenizer)
    key = f"bootstrap.sft.policy.prompt.tokenizer={tokenizer}"

    chosen = choose(SetUp(), saved=None, overrides=[key])

    assert digests(chosen.settings) == (new, old)
    assert digests(chosen.saved) == (old, old)
    prompt = {"tokenizer": str(tokenizer)}
    in_form = {"bootstrap": {"sft": {"policy": {"prompt": prompt}}}}
    assert run_settings(chosen.name, settings=in_form) == chosen.settings
    assert run_settings(chosen.name, settings=chosen.changes) == chosen.settings
    by_hand = choose(SetUp(), saved=None, overrides=[key, f"{key.partition('=')[0]}_digest=ab"])
    assert digests(by_hand.settings) == ("ab", old)
    with pytest.raises(ConfigError, match=r"tokenizer 'gone\.model' is neither"):
        choose(SetUp(), saved=None, overrides=["iteration.value.value.prompt.tokenizer=gone.model"])


def test_a_tokenizer_file_that_changed_makes_anew_what_reads_it(
    recap_home: Path, tokenizer: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said; where the file is missing the settings stay, for what is cached needs no file."""
    overrides = [f"iteration.value.value.prompt.tokenizer={tokenizer}"]
    base = project(Preset.plumbing, 0, cameras=False, file=None, overrides=overrides)
    save_project(recap_home, base)
    old = tokenizer_digest(tokenizer)
    assert run_settings("plumbing", settings={}) == base
    with tokenizer.open("ab") as file:
        file.write(b"more")

    settings = run_settings("plumbing", settings={})

    assert digests(settings) == (old, tokenizer_digest(tokenizer)) != digests(base)
    assert choose(SetUp(), saved=None, overrides=()).settings == settings
    assert "is another file than when the project was set up" in caplog.text
    tokenizer.unlink()
    assert run_settings("plumbing", settings={}) == base
