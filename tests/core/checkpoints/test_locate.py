"""Where the parts of an openpi checkpoint lie."""

import logging
from pathlib import Path

import pytest

from recap_core.checkpoints.locate import locate_checkpoint
from recap_core.errors import CheckpointError


def _step(path: Path, *, complete: bool = True) -> Path:
    (path / "params").mkdir(parents=True)
    (path / "params" / "_METADATA").touch()
    if complete:
        (path / "params" / "manifest.ocdbt").touch()
    return path


def test_parameters_step_and_experiment_lead_to_the_same_place(tmp_path: Path) -> None:
    """Any of the three may be named."""
    step = _step(tmp_path / "fold" / "29999")

    places = [locate_checkpoint(path) for path in (step / "params", step, tmp_path / "fold")]

    assert {(place.root, place.params, place.step) for place in places} == {
        (step, step / "params", 29999)
    }


def test_the_newest_complete_step_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By number, not by name; one that lacks files is left out with a warning."""
    for step in ("999", "10000"):
        _step(tmp_path / step)
    _step(tmp_path / "20000", complete=False)
    _step(tmp_path / "30000.orbax-checkpoint-tmp-1")
    (tmp_path / "wandb_id.txt").touch()

    with caplog.at_level(logging.INFO):
        place = locate_checkpoint(tmp_path)

    assert (place.step, place.num_steps_found) == (10000, 2)
    assert "20000 is left out" in caplog.text
    assert "newest complete step" in caplog.text


def test_a_released_checkpoint_has_no_step(tmp_path: Path) -> None:
    """Its directory has a name, not a number."""
    place = locate_checkpoint(_step(tmp_path / "pi05_base"))

    assert place.step is None
    assert place.root == tmp_path / "pi05_base"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "it is empty"),
        (("notes.txt",), "it holds notes.txt"),
        (("model.safetensors", "config.json"), "a lerobot policy"),
        (("params/d/x",), r"lacks _METADATA or manifest.ocdbt \(it holds \['d'\]\)"),
    ],
)
def test_what_is_there_instead_is_said(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    """Neither an empty nor a foreign directory is guessed at."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    with pytest.raises(CheckpointError, match=message):
        locate_checkpoint(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """A typing error in a path is told as one."""
    with pytest.raises(CheckpointError, match="there is no directory"):
        locate_checkpoint(tmp_path / "no")
