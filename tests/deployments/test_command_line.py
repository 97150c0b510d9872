"""The ``recap`` command as a user meets it: help, errors, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.cli.help_text import flowing
from recap_core.lineage.artifacts import NormStats, Values
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import INFER_VALUES, NORM_STATS, NoSettings


def recap(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command with a store of its own."""
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-m", "deployments.cli.main", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "RECAP_HOME": str(home)},
    )


@pytest.fixture
def two_artifacts(tmp_path: Path) -> tuple[NormStats, Values]:
    """Norm stats, and values made from them."""

    def build(area: Build) -> Built:
        (area.output / "numbers.txt").write_text("1 2 3")
        return Built({"num_frames": 3}, {"loss": 0.25})

    store = Store(tmp_path)
    stats = store.produce(NORM_STATS, NoSettings(), {}, name="stats", build=build)
    inputs = {"norm_stats": stats}
    values = store.produce(INFER_VALUES, NoSettings(), inputs, name="values", build=build)
    assert isinstance(stats, NormStats)
    assert isinstance(values, Values)
    store.set_ref("demo/sim-aloha/values", values)
    return stats, values


def test_help_shows_every_command_and_loads_nothing_heavy() -> None:
    """``recap --help`` has half a second."""
    code = (
        "import sys\n"
        "from deployments.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'prefect', 'jax', 'lerobot', 'torch', 'numpy', 'mujoco', 'pydantic'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    for command in ("demo", "loop", "iterate", "up", "lineage", "view"):
        assert command in done.stdout


def test_ctrl_c_while_the_commands_load_is_one_line() -> None:
    """Nothing has begun by then, so there is nothing to explain."""
    code = (
        "import os, signal, sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'deployments.cli.policy_panel':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from deployments.cli.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    "command",
    ["demo", "loop", "iterate", "up", "annotate", "merge", "stats", "view", "export", "import"],
)
def test_every_command_has_an_example(command: str, tmp_path: Path) -> None:
    """Help ends with a line that can be copied."""
    done = recap(command, "--help", home=tmp_path)

    assert f"Example: recap {command}" in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "-s", "iteration.labell.lookahead=3"),
        ("loop", "-s", "iteration.label.positive_share=2"),
        ("iterate", "-s", "iteration.value.value.model.views=[base_0_rgb]"),
        ("up", "--config", "/nowhere/recap.yaml"),
        ("up", "--nightly", "0 2 * * *", "--no-nightly"),
        ("up", "--timezone", "Europe/Berlin"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """No traceback, no server started, nothing written."""
    done = recap(*arguments, home=tmp_path / "home")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", ["loop", "iterate", "iterate --plan"])
def test_a_stage_that_is_none_is_refused_before_anything_starts(
    command: str, tmp_path: Path
) -> None:
    """With the name that may have been meant."""
    done = recap(*command.split(), "--refresh", "trainpolicy", home=tmp_path / "home")

    assert done.returncode == 2
    assert "did you mean train-policy?" in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", ["up --no-cameras", "iterate --here --no-cameras"])
def test_a_store_that_cannot_be_one_is_a_line_that_says_what_to_do(
    command: str, tmp_path: Path
) -> None:
    """A file where the directory should be, or above it."""
    (tmp_path / "file").write_text("")

    wrong = recap(*command.split(), home=tmp_path / "file")
    impossible = recap(*command.split(), home=tmp_path / "file" / "home")

    assert (wrong.returncode, impossible.returncode) == (2, 1)
    assert "which is no directory" in wrong.stderr
    assert "Not a directory" in impossible.stderr
    for done in (wrong, impossible):
        assert done.stderr.startswith("error: ")
        assert "RECAP_HOME" in done.stderr
        assert done.stderr.count("\n") == 1


def test_an_interruption_of_an_import_is_no_traceback(tmp_path: Path) -> None:
    """An extension module reports Ctrl-C as a failed import; Prefect is to report to nobody."""
    code = (
        "import os, sys\n"
        "from deployments.cli import main\n"
        "def app():\n"
        "    assert os.environ['DO_NOT_TRACK'] == '1'\n"
        "    raise ImportError('initialization failed') from KeyboardInterrupt()\n"
        "main.app = app\n"
        "main.run()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DO_NOT_TRACK"}

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        check=False, capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_help_flows_where_its_source_is_broken() -> None:
    """Lines within a sentence are joined, sentences and paragraphs stay apart."""
    assert flowing("One.\n\nTwo, and\nthree.\nFour:\nfive.") == (
        "One.\n\nTwo, and three.\nFour:\nfive."
    )


def test_an_unknown_artifact_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    """The command line, not Python, answers."""
    done = recap("lineage", "show", "abcdef12", home=tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith("error: no artifact 'abcdef12'")
    assert "Traceback" not in done.stderr


def test_lineage_show_names_parents_numbers_and_refs(
    two_artifacts: tuple[NormStats, Values], tmp_path: Path
) -> None:
    """For people as text, and for programs as JSON."""
    stats, values = two_artifacts

    text = recap("lineage", "show", "demo/sim-aloha/values", home=tmp_path).stdout
    facts = json.loads(recap("lineage", "show", values.id, "--json", home=tmp_path).stdout)

    assert f"norm_stats stats-{stats.id[:8]}" in text
    assert "loss: 0.25" in text
    assert "refs: demo/sim-aloha/values" in text
    assert facts["id"] == values.id
    assert facts["ancestors"] == [stats.id]


def test_lineage_graph_comes_as_text_json_and_mermaid(
    two_artifacts: tuple[NormStats, Values], tmp_path: Path
) -> None:
    """The same two nodes and one edge in each."""
    stats, values = two_artifacts

    text = recap("lineage", "graph", home=tmp_path).stdout
    plain = json.loads(recap("lineage", "graph", stats.id, "--json", home=tmp_path).stdout)
    mermaid = recap("lineage", "graph", "--mermaid", home=tmp_path).stdout

    assert text.splitlines()[0].startswith(f"values values-{values.id[:8]}")
    assert {node["id"] for node in plain["nodes"]} == {stats.id, values.id}
    assert f"n{stats.id} -->" in mermaid
