"""``recap import-policy`` and ``recap export-policy`` as a user meets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.cli.policy_commands import Size, _policy_of_size
from recap_core.checkpoints.architecture import read_architecture
from recap_core.checkpoints.params import load_params
from recap_core.lineage.store import Store
from tests.core.checkpoints import tiny


def recap(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command with a store of its own."""
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-m", "deployments.cli.main", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "RECAP_HOME": str(home)},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An openpi training of a LoRA policy, and its configuration as a file."""
    root = tmp_path_factory.mktemp("work")
    for step in ("10", "20"):
        tiny.write_as_openpi(root / "fold" / step, tiny.random_params(tiny.LORA))
    (root / "policy.yaml").write_text(tiny.policy(tiny.LORA).model_dump_json())
    return root


@pytest.fixture(scope="module")
def imported(place: Path) -> dict[str, object]:
    """What the import says."""
    done = recap(
        "import-policy",
        str(place / "fold"),
        "--policy-config",
        str(place / "policy.yaml"),
        "--json",
        home=place / "home",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_import_says_what_it_took(imported: dict[str, object], place: Path) -> None:
    """The newest step, named after its experiment, with its origin."""
    assert imported["name"] == "fold"
    assert (imported["source"], imported["source_step"]) == (str(place / "fold" / "20"), 20)
    assert imported["num_steps"] == 21
    assert Path(str(imported["path"])).is_dir()


def test_an_import_again_answers_in_words(imported: dict[str, object], place: Path) -> None:
    """The same content is the same artifact, by whichever path it is named."""
    done = recap(
        "import-policy",
        str(place / "fold" / "20" / "params"),
        "--policy-config",
        str(place / "policy.yaml"),
        home=place / "home",
    )

    assert done.returncode == 0, done.stderr
    assert f"fold-{str(imported['id'])[:8]}" in done.stdout
    assert "(openpi, step 20)" in done.stdout
    assert "norm stats of local/towels" in done.stdout


def test_a_merged_export_is_a_full_policy(
    imported: dict[str, object], place: Path, tmp_path: Path
) -> None:
    """In the layout that was asked for; a second one is refused."""
    arguments = ["export-policy", str(imported["id"]), str(tmp_path / "out"), "--merge-lora"]
    arguments += ["--nnx-values", "--step", "5"]

    done = recap(*arguments, home=place / "home")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("openpi: full policy, ")
    assert done.stdout.splitlines()[1] == str(tmp_path / "out" / "5")
    load_params(tmp_path / "out" / "5" / "params", tiny.shapes())
    again = recap(*arguments, home=place / "home")
    assert again.returncode == 1
    assert "exists and is not empty" in again.stderr


def test_an_export_of_ours_needs_no_configuration(
    imported: dict[str, object], place: Path, tmp_path: Path
) -> None:
    """It brings its own, and a reference can be pointed to it."""
    recap("export-policy", str(imported["id"]), str(tmp_path / "out"), home=place / "home")

    done = recap(
        "import-policy", str(tmp_path / "out"), "--ref", "vials/yam/start", home=place / "home"
    )

    assert done.returncode == 0, done.stderr
    found = Store(place / "home").get_ref("vials/yam/start")
    assert found is not None
    assert found.id == imported["id"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "exactly one of --config NAME, --policy-config FILE and --size"),
        (("--size", "tiny", "--policy-config", "x.yaml"), "exactly one of"),
        (("--size", "tiny"), "The checkpoint has LoRA adapters"),
        (("--config", "pi05_libero"), "the configuration is pi0.5 of gemma_2b and gemma_300m,"),
        (("--config", "pi05_liberoo"), "the closest is 'pi05_libero'"),
        (("--size", "tiny", "--embodiment", "yam"), "--embodiment changes the robot of a --config"),
        (("--size", "tiny", "--ref", "../x"), "ref"),
        (("--size", "tiny", "--base", "--norm-stats", "x.json"), "keep one"),
    ],
)
def test_a_wrong_request_is_one_line(place: Path, arguments: tuple[str, ...], message: str) -> None:
    """Without a traceback, and nothing is published."""
    done = recap("import-policy", str(place / "fold"), *arguments, home=place / "other")

    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (place / "other").exists() or not list(Store(place / "other").artifacts())


@pytest.mark.parametrize(
    ("size", "kind"),
    [("pi05", "pi0.5 of gemma_2b and gemma_300m,"), ("pi0", "pi0 of gemma_2b and gemma_300m,"),
     ("pi05_lora", "pi0.5 of gemma_2b with LoRA rank 16 and gemma_300m with LoRA rank 32,")],
)  # fmt: skip
def test_sizes_are_openpis(size: str, kind: str) -> None:
    """A size stands for the architecture of that name."""
    model = _policy_of_size(Size(size)).model

    assert read_architecture(tiny.shapes(model)).describe().startswith(kind)
