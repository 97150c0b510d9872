"""``recap doctor value`` as a user meets it: what would stop a value training."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.lineage.artifacts import Dataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import CONVERT, NoSettings
from tests.deployments.test_value_train import start

MIXED = [SyntheticEpisode(length=3, success=i // 7 != 1) for i in range(20)]
TINY = (
    "--preset=tiny",
    "--set=value.embodiment.state=[observation.state]",
    "--set=value.model.state_dim=14",
)

UNREAD = ("--set=value.model.state_input=none", "--set=value.embodiment.state=[observation.gone]")


def dataset(home: Path, episodes: list[SyntheticEpisode]) -> Dataset:
    def build(area: Build) -> Built:
        robot = SyntheticRobot(cameras=())
        return Built(write_synthetic_dataset(area.output, episodes, robot)._asdict())

    return Store(home).produce(CONVERT, NoSettings(), {}, name="data", build=build)


def diagnosed(data: Dataset, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the last finding of every check."""
    done = CliRunner().invoke(app, ["doctor", "value", data.id, *options, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, {f["check"]: f for f in json.loads(done.stdout)["findings"]}


def test_a_training_that_can_run(recap_home: Path) -> None:
    """Notes only: memory, disk, and how many episodes of each outcome do what."""
    code, found = diagnosed(dataset(recap_home, MIXED), *TINY)

    assert code == 0
    assert {finding["severity"] for finding in found.values()} == {"note"}
    assert set(found) == {"memory", "disk", "split"}
    assert found["split"]["value"].startswith("train 16 (")


def test_full_size_on_a_small_device(recap_home: Path) -> None:
    """Frozen encoders fit where the whole model does not; weights are asked for."""
    data = dataset(recap_home, MIXED)

    code, frozen = diagnosed(data, "--preset=single_gpu", "--devices=1", "--device-gb=8")
    _, whole = diagnosed(
        data, "--preset=single_gpu", "--devices=1", "--device-gb=8", "--set=freeze=none"
    )

    assert code == 1
    assert frozen["memory"]["severity"] == "note"
    assert frozen["start"]["severity"] == "error"
    assert "--start" in frozen["start"]["fix"]
    assert whole["memory"]["severity"] == "error"
    assert "freeze=all_backbones" in whole["memory"]["fix"]
    assert "start" not in whole
    # Nothing of YAM's cameras and of Gemma's tokenizer is here.
    assert "value.embodiment.views.base_0_rgb" in frozen["columns"]["rule"]
    assert frozen["tokenizer"]["severity"] == "error"


@pytest.mark.parametrize(
    ("episodes", "options", "check", "severity", "text"),
    [
        (MIXED[:7], (), "outcomes", "error", "all 7 succeeded"),
        (MIXED[:8], ("--set=validation.interval=5",), "validation", "warning", "held_out_share"),
        (MIXED[:8], (), "health", "warning", "2 of both outcomes"),
        (MIXED, ("--devices=3",), "devices", "error", "batch_size 128, 3 devices"),
        (MIXED, ("--set=value.model.max_token_len=2",), "prompts", "warning", "max_token_len"),
        # Not read, but a training begins with the norm stats.
        (MIXED, UNREAD, "columns", "error", "observation.gone"),
    ],
)
def test_what_would_stop_or_waste_it(
    recap_home: Path,
    *,
    episodes: list[SyntheticEpisode],
    options: tuple[str, ...],
    check: str,
    severity: str,
    text: str,
) -> None:
    """Errors exit with 1; warnings do not."""
    code, found = diagnosed(dataset(recap_home, episodes), *TINY, *options)

    assert (code, found[check]["severity"]) == (int(severity == "error"), severity)
    assert text in json.dumps(found[check])


def test_a_start_of_another_size(recap_home: Path) -> None:
    """Found by the shapes alone; the start's own model fits."""
    data = dataset(recap_home, MIXED)
    start(recap_home, data)

    same, fits = diagnosed(data, "--start=my/yam/start")
    code, found = diagnosed(data, "--start=my/yam/start", "--set=value.model.head_hidden=5")

    assert same == 0
    assert fits["start"]["value"] == "every leaf fits"
    assert (code, found["start"]["severity"]) == (1, "error")
    assert "value_head/linear1/bias: expected (5,), found (64,)" in json.dumps(found["start"])
