"""``recap value import`` and ``recap value export`` as a user meets them."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from recap_core.checkpoints.params import load_params
from recap_core.checkpoints.trees import flatten
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.store import Store
from tests.core.checkpoints import value_layouts as layouts
from tests.core.checkpoints.value_layouts import VALUE

PARAMS, EMA = layouts.random_params(1), layouts.random_params(2)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store, a bundle that the environment names, and the value model's configuration."""
    monkeypatch.setenv("RECAP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENPI_VLM_CKPT_DIR", str(tmp_path / "vlm"))
    layouts.write_step(tmp_path / "vlm" / "gemma-3-270m", 20_000, PARAMS, EMA)
    siglip = tmp_path / "vlm" / "siglip2-so400m-patch14-224-jax"
    siglip.mkdir()
    npz = layouts.big_vision(layouts.siglip(), scan=True)
    layouts.write_npz(siglip / "siglip2_so400m14_224.npz", npz)
    (tmp_path / "value.yaml").write_text(VALUE.model_dump_json())
    return tmp_path


def recap(*arguments: str | Path, place: Path) -> Result:
    config = () if arguments[1] == "export" else ("--config", str(place / "value.yaml"))
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, *config)])


def test_the_bundle_of_the_environment_is_imported_and_exported(place: Path) -> None:
    """Whole; told with its match report; out again, it is the same step of the reference."""
    done = recap("value", "import", "--ref", "pretrained/value/base", "--json", place=place)

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["name"], told["source_step"], told["fresh_leaves"]) == ("vlm", 20_000, [])
    assert told["match"]["sources"][0]["num_params"] == told["num_params"]
    assert isinstance(Store(place / "home").get("pretrained/value/base"), ValueCheckpoint)

    out = recap(
        "value", "export", "pretrained/value/base", place / "out", "--step", "20000", place=place
    )
    assert out.exit_code == 0, out.output
    assert out.stdout.splitlines()[-1] == str(place / "out" / "step_00020000")
    again = recap("value", "import", place / "out", "--json", place=place)
    assert again.exit_code == 0, again.output
    found = flatten(load_params(Path(json.loads(again.stdout)["path"]) / "params"))
    for path, leaf in PARAMS.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)
    refused = recap("value", "export", told["id"], place / "out", "--step", "20000", place=place)
    assert "never overwritten" in str(refused.exception)


def test_a_dry_run_only_compares(place: Path) -> None:
    """People read what matched, what is fresh and what is not used; nothing is published."""
    done = recap("value", "import", "--take", "backbones", "--dry-run", place=place)

    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "matched 21 leaves" in text
    assert "(big_vision)" in text
    assert "unused 3:" in text
    assert "fresh 6 leaves" in text
    assert not list((place / "home").glob("artifacts/value-models/*"))


def test_nothing_named_and_nothing_set(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to get, and which variable to set."""
    monkeypatch.delenv("OPENPI_VLM_CKPT_DIR")

    done = recap("value", "import", place=place)

    assert isinstance(done.exception, ConfigError)
    assert "set OPENPI_VLM_CKPT_DIR" in str(done.exception)
    assert "google/gemma-3-270m" in str(done.exception)
