"""``recap hub``, as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.cli.main import run
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import CONVERT, NoSettings
from tests.hub_server import OWNER, TOKEN, running_hub

REPO = f"{OWNER}/towels"
PUSH_AND_LOAD = f"""
import sys
from deployments.cli.main import run
from lerobot.datasets.lerobot_dataset import LeRobotDataset

for arguments in ({REPO!r}, "--json"), ({REPO!r}, "--out", sys.argv[1], "--json"):
    sys.argv[1:] = ["hub", "push", "demo/arm/dataset", *arguments]
    try:
        run()
    except SystemExit as left:
        assert not left.code, left.code
for dataset in (LeRobotDataset({REPO!r}), LeRobotDataset({REPO!r}, root=arguments[2])):
    frame = dataset[5]
    print(len(dataset), frame["adv_ind"], tuple(frame["observation.images.head_camera"].shape))
    print(dataset.root)
"""
"""Upload and folder by the command; then lerobot opens both, the first by name alone."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one dataset with pictures."""
    store = Store(tmp_path_factory.mktemp("store") / "home")

    def build(area: Build) -> Built:
        episodes = [SyntheticEpisode(length=4), SyntheticEpisode(length=3)]
        robot = SyntheticRobot(cameras=("head_camera",))
        return Built(write_synthetic_dataset(area.output, episodes, robot)._asdict())

    dataset = store.produce(CONVERT, NoSettings(), {}, name="towels", build=build)
    store.set_ref("demo/arm/dataset", dataset)
    return store.home


def test_lerobot_opens_what_was_pushed_by_its_name(home: Path, tmp_path: Path) -> None:
    """And the folder of --out; the token is printed nowhere."""
    folder = tmp_path / "folder"
    with running_hub() as hub:
        done = subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-c", PUSH_AND_LOAD, str(folder)],
            check=False,
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "RECAP_HOME": str(home),
                "HF_HOME": str(tmp_path / "hf"),
                "HF_ENDPOINT": hub.address,
                "HF_TOKEN": TOKEN,
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1",
                "HF_LEROBOT_HOME": str(tmp_path / "lerobot"),
            },
        )

    assert done.returncode == 0, done.stderr
    *answers, first, first_root, second, second_root = done.stdout.splitlines()
    assert first == second == "7 none (3, 32, 32)"
    assert first_root.startswith(str(tmp_path / "lerobot"))
    assert second_root == str(folder)
    assert f'"url": "{hub.address}/datasets/{REPO}"' in "".join(answers)
    assert hub.num_requests(r"^POST .*/commit/") == 1
    assert TOKEN not in done.stdout + done.stderr


def recap(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path, *arguments: str
) -> tuple[object, str, str]:
    """Exit code and what was printed."""
    monkeypatch.setenv("RECAP_HOME", str(home))
    monkeypatch.setattr(sys, "argv", ["recap", "hub", *arguments])
    with pytest.raises(SystemExit) as left:
        run()
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


def test_a_dry_run_says_what_would_go(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files, size and tags; a missing license is pointed out."""
    code, out, err = recap(monkeypatch, capsys, home, "push", "dataset", REPO, "--dry-run")

    first, second, third, last = out.splitlines()
    assert not code
    assert first.startswith("dataset towels-")
    assert second == "  README.md, artifact.json, data/ (1), meta/ (4), videos/ (2)"
    assert third.startswith("  tags v3.0, towels-")
    assert last == f"would go to {REPO}; nothing was sent"
    assert "--license" in err


def test_a_card_goes_to_stdout_or_a_new_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What exists is kept."""
    path = tmp_path / "CARD.md"
    printed = recap(monkeypatch, capsys, home, "card", "dataset", "--license", "mit")[1]
    written = ("card", "dataset", "--license", "mit", "--out", str(path))
    assert not recap(monkeypatch, capsys, home, *written)[0]

    assert path.read_text() == printed
    assert printed.startswith("---\nlicense: mit\n")
    code, _, err = recap(monkeypatch, capsys, home, *written)
    assert (code, err) == (2, f"error: {path} exists. Choose another file.\n")


def test_a_mistake_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tests run with HF_HUB_OFFLINE; without a token that is not even reached."""
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nonexistent/token")

    code, out, err = recap(monkeypatch, capsys, home, "push", "dataset", REPO, "--json")

    assert (code, out) == (1, "")
    assert err.startswith("error: there is no token for the hub. Log in with 'hf auth login'")
    assert len(err.splitlines()) == 1
    json_answer = recap(monkeypatch, capsys, home, "push", "dataset", REPO, "--json", "--dry-run")
    assert json.loads(json_answer[1])["tags"][0] == "v3.0"
