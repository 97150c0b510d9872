"""``recap doctor train`` as a user meets it: what would stop a training, before it starts."""

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

MIXED = [SyntheticEpisode(interventions=(4, 5), success=i % 2 == 0) for i in range(2)]
DEMONSTRATIONS = [SyntheticEpisode(demonstration=True)] * 2
TINY = (
    "--preset=tiny",
    "--set=policy.embodiment.state=[observation.state]",
    "--set=policy.model.state_dim=14",
)


def dataset(home: Path, episodes: list[SyntheticEpisode], cameras: tuple[str, ...] = ()) -> Dataset:
    def build(area: Build) -> Built:
        robot = SyntheticRobot(cameras=cameras, image_px=16)
        return Built(write_synthetic_dataset(area.output, episodes, robot)._asdict())

    return Store(home).produce(CONVERT, NoSettings(), {}, name="data", build=build)


def diagnosed(home: Path, data: Dataset, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the last finding of every check."""
    del home
    done = CliRunner().invoke(app, ["doctor", "train", data.id, *options, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, {f["check"]: f for f in json.loads(done.stdout)["findings"]}


def test_a_training_that_can_run(recap_home: Path) -> None:
    """Notes only: memory, disk, and the shares of the labels."""
    code, found = diagnosed(recap_home, dataset(recap_home, MIXED), *TINY)

    assert code == 0
    assert {finding["severity"] for finding in found.values()} == {"note"}
    assert set(found) == {"memory", "disk", "labels"}
    assert found["labels"]["value"] == "83.3% none, 16.7% positive"


def test_full_size_on_a_small_device(recap_home: Path) -> None:
    """What it takes, what there is, and what would fit; LoRA fits where openpi's does."""
    data = dataset(recap_home, MIXED)

    _, paper = diagnosed(recap_home, data, "--preset=paper", "--devices=1", "--device-gb=24")
    _, eight = diagnosed(recap_home, data, "--preset=paper", "--devices=8", "--device-gb=40")
    _, lora = diagnosed(recap_home, data, "--preset=single_gpu", "--devices=1", "--device-gb=24")

    assert paper["memory"]["severity"] == "error"
    assert "single_gpu" in paper["memory"]["fix"]
    assert "fsdp_devices=" in json.dumps(eight)
    assert lora["memory"]["severity"] == "note"
    # Nothing of YAM's cameras and of PaliGemma's tokenizer is here; one finding names all cameras.
    assert lora["columns"]["where"]["feature"].count("observation.images.") == 3
    assert lora["tokenizer"]["fix"].startswith("Get gs://big_vision/paligemma_tokenizer.model")


def test_demonstrations_have_nothing_to_condition_on(recap_home: Path) -> None:
    """All frames positive is an error for fine-tuning, and as it should be for an SFT."""
    data = dataset(recap_home, DEMONSTRATIONS)

    code, found = diagnosed(recap_home, data, *TINY)
    sft_code, sft = diagnosed(recap_home, data, *TINY, "--set=condition=positive")

    assert (code, found["labels"]["severity"]) == (1, "error")
    assert "condition=positive" in found["labels"]["fix"]
    assert found["outcomes"]["value"] == "all 2 succeeded"
    assert sft_code == 0
    assert "labels" not in sft


@pytest.mark.parametrize(
    ("options", "check", "text"),
    [
        (("--set=policy.model.max_token_len=5",), "prompts", "max_token_len"),
        (("--set=policy.embodiment.state_dim=9",), "columns", "14"),
        (("--devices=3", "--set=train.batch_size=8"), "devices", "batch_size 8, 3 devices"),
        (("--runtime=fsdp_devices=2",), "devices", "fsdp_devices 2"),
    ],
)
def test_what_would_stop_it_is_an_error(
    recap_home: Path, options: tuple[str, ...], check: str, text: str
) -> None:
    """With exit code 1."""
    code, found = diagnosed(recap_home, dataset(recap_home, MIXED), *TINY, *options)

    assert (code, found[check]["severity"]) == (1, "error")
    assert text in json.dumps(found[check])


def test_a_start_of_another_size(recap_home: Path) -> None:
    """Found by the shapes alone."""
    data = dataset(recap_home, MIXED)
    short = (
        "--set=train.num_steps=1", "--set=train.batch_size=2",
        "--set=train.optimizer.warmup_steps=0", "--set=train.optimizer.decay_steps=1",
    )  # fmt: skip
    trained = CliRunner().invoke(app, ["sft", data.id, *TINY, *short, "--ref", "my/yam/start"])
    assert trained.exit_code == 0

    same, _ = diagnosed(recap_home, data, *TINY, "--start", "my/yam/start")
    code, found = diagnosed(
        recap_home, data, *TINY, "--start", "my/yam/start", "--set=policy.model.expert.mlp_dim=64"
    )

    assert same == 0
    assert (code, found["start"]["severity"]) == (1, "error")


def test_people_read_a_table(recap_home: Path) -> None:
    """With one line at the end that says what it comes to."""
    data = dataset(recap_home, MIXED)

    done = CliRunner().invoke(app, ["doctor", "train", data.id, *TINY], env={"COLUMNS": "120"})

    assert done.stdout.startswith(f"Training on data-{data.id[:8]}")
    assert "GB per device" in done.stdout
    assert done.stdout.splitlines()[-1] == "Nothing is broken; 3 notes to look at."
