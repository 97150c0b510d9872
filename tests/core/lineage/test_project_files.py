"""Settings of projects in the store: saved whole, read with a readable error."""

from pathlib import Path

import pytest

from recap_core.config.presets import plumbing_project, tiny_project
from recap_core.errors import ConfigError
from recap_core.lineage.project_files import list_projects, load_project, save_project
from tests.written_state import written_state

DEMO = tiny_project(cameras=False)
PLUMBING = plumbing_project(cameras=False)


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    """By ``project/robot``, and by the project alone where it has one robot."""
    save_project(tmp_path, DEMO)
    save_project(tmp_path, PLUMBING)

    assert load_project(tmp_path, "demo/sim-aloha") == DEMO
    assert load_project(tmp_path, "plumbing") == PLUMBING
    assert list_projects(tmp_path) == ["demo/sim-aloha", "plumbing/sim-aloha"]


def test_equal_settings_leave_the_file_alone_and_others_replace_it(tmp_path: Path) -> None:
    """A served deployment may read it at any moment."""
    path = save_project(tmp_path, DEMO)
    before = written_state(path)

    save_project(tmp_path, DEMO)
    assert written_state(path) == before

    other = DEMO.model_copy(
        update={"iteration": DEMO.iteration.model_copy(update={"offline": "never"})}
    )
    save_project(tmp_path, other)
    assert load_project(tmp_path, "demo") == other
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["sim-aloha.yaml"]


def test_an_unknown_project_says_which_there_are_and_how_to_make_one(tmp_path: Path) -> None:
    """Also where there is none."""
    with pytest.raises(ConfigError, match=r"no project 'demo' .*none yet.*recap up --config"):
        load_project(tmp_path, "demo")
    save_project(tmp_path, DEMO)
    with pytest.raises(ConfigError, match=r"no project 'dmo/sim-aloha' .*demo/sim-aloha"):
        load_project(tmp_path, "dmo/sim-aloha")


def test_several_robots_must_be_named(tmp_path: Path) -> None:
    """The message lists them."""
    save_project(tmp_path, DEMO)
    save_project(tmp_path, DEMO.model_copy(update={"robot": "yam"}))

    with pytest.raises(ConfigError, match="name one of demo/sim-aloha, demo/yam"):
        load_project(tmp_path, "demo")


@pytest.mark.parametrize("name", ["../demo/x", "demo/../../x", "Demo/yam", "/demo/yam", ""])
def test_a_name_never_leads_out_of_the_store(tmp_path: Path, name: str) -> None:
    """Two plain names and nothing else."""
    with pytest.raises(ConfigError, match=r"names no project|no project"):
        load_project(tmp_path, name)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("positive_share: 0.2", "positive_share: 2", r"label\.positive_share is 2: .*less than"),
        ("lookahead: 8", "lookahed: 8", r"label\.lookahed'; did you mean 'lookahead'"),
        ("project: demo", "project: other", "says that it belongs to other/sim-aloha"),
        ("project: demo", "project: [", "is not YAML"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    """The file, the key, the value and the rule."""
    path = save_project(tmp_path, DEMO)
    path.write_text(path.read_text().replace(before, after))

    with pytest.raises(ConfigError, match=rf"sim-aloha\.yaml .*{message}"):
        load_project(tmp_path, "demo/sim-aloha")
