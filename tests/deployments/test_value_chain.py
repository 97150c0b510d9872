"""From published weights to values, each command reading what the one before has written."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from recap_core.checkpoints.params import load_params
from recap_core.checkpoints.trees import flatten
from recap_core.checkpoints.value_checkpoint import read_value_model
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.lineage.artifacts import Dataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.models.tokenizer import tokenizer_digest, tokenizer_path
from recap_core.stages.registry import CONVERT, NoSettings
from recap_core.valuation.values import read_values
from tests.core.checkpoints import value_layouts as layouts
from tests.core.data.colours import COLOURS, conversation, write_images, write_lines
from tests.core.features import filmed

NUM_EPISODES, EPISODE_FRAMES = 10, 6
TRAINING = {
    "freeze": "all_backbones",
    "train.augment": "null",
    "train.num_steps": 9,
    "train.batch_size": 8,
    "train.optimizer.warmup_steps": 0,
    "train.optimizer.peak_lr": 0.01,
    "validation.interval": 3,
    "health.num_bootstrap": 100,
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a filmed dataset; published weights, their configuration, and questions."""
    monkeypatch.setenv("RECAP_HOME", str(tmp_path / "home"))
    layouts.siglip().save_pretrained(tmp_path / "siglip")
    layouts.gemma(vocab_size=400).save_pretrained(tmp_path / "gemma")
    shutil.copy(tokenizer_path("tiny"), tmp_path / "any.model")
    model = layouts.MODEL.model_copy(update={"vocab_size": 400, "max_token_len": 12})
    embodiment = filmed.config().value.embodiment
    prompt = layouts.VALUE.prompt.model_copy(update={"tokenizer": str(tmp_path / "any.model")})
    value = {"model": model, "embodiment": embodiment, "prompt": prompt}
    (tmp_path / "value.yaml").write_text(
        layouts.VALUE.model_copy(update=value).model_dump_json(), encoding="utf-8"
    )
    write_images(tmp_path / "photos")
    write_lines(tmp_path / "questions.jsonl", [conversation(colour) for colour in COLOURS])
    return tmp_path


def dataset(store: Store) -> Dataset:
    """Ten episodes, filmed by one camera."""
    robot = SyntheticRobot(num_joints=1, cameras=("head_camera",))
    episodes = [
        SyntheticEpisode(length=EPISODE_FRAMES, success=i % 2 > 0) for i in range(NUM_EPISODES)
    ]

    def build(area: Build) -> Built:
        return Built(write_synthetic_dataset(area.output, episodes, robot)._asdict())

    return store.produce(CONVERT, NoSettings(), {}, name="data", build=build)


def recap(*arguments: object, fails: bool = False) -> dict[str, Any]:
    """What a command tells as JSON."""
    done = CliRunner().invoke(app, ["value", *map(str, arguments), "--json"])
    assert done.exit_code == int(fails), done.output
    return json.loads(done.stdout)


def leaves(told: dict[str, Any], which: str = "params") -> dict[str, np.ndarray]:
    return flatten(load_params(Path(told["path"]) / which))


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    """Top groups that differ in at least one bit."""
    return {
        leaf.partition("/")[0]
        for leaf in before
        if before[leaf].astype(np.float32).tobytes() != after[leaf].astype(np.float32).tobytes()
    }


def test_from_published_weights_to_values(place: Path) -> None:
    """Every step changes what it should and keeps the rest, down to the encoders' last bit."""
    store = Store(place / "home")
    data = dataset(store)

    base = recap(
        "import", place / "siglip", place / "gemma", "--preset", "tiny", "-c", place / "value.yaml"
    )
    assert {leaf.partition("/")[0] for leaf in base["fresh_leaves"]} == {
        "img_projection", "cross_attn_norm", "cross_attention", "value_head"
    }  # fmt: skip

    aligned = recap(
        "align", base["id"], "--data", place / "questions.jsonl", "--images", place / "photos",
        "-s", "train.num_steps=3", "-s", "train.optimizer.peak_lr=0.01",
    )  # fmt: skip
    assert changed(leaves(base), leaves(aligned)) == {"img_projection"}
    assert not any(leaf.startswith("img_projection") for leaf in aligned["fresh_leaves"])
    made = store.manifest(store.get(aligned["id"])).config
    assert made["train"]["num_steps"] == made["train"]["optimizer"]["decay_steps"] == 3
    # The key says which tokenizer was read: the import has none beside its weights to name.
    digest = tokenizer_digest(place / "any.model")
    assert made["tokenizer_digest"] == digest
    named = read_value_model(Path(aligned["path"])).settings.config.prompt.tokenizer_digest
    assert named == digest

    settings = [part for key, value in TRAINING.items() for part in ("-s", f"{key}={value}")]
    trained = recap("train", data.id, "--start", aligned["id"], *settings)
    for which in ("params", "ema_params"):
        assert changed(leaves(base), leaves(trained, which)) == {
            "img_projection", "cross_attn_norm", "cross_attention", "value_head"
        }  # fmt: skip
    assert trained["best_step"] in {3, 6, 9}
    assert trained["fresh_leaves"] == []
    assert any((store.home / "cache" / "features").glob("*.tokens"))

    values = recap("infer", trained["id"], data.id)
    found = read_values(Path(values["path"]))
    assert found.shape == (NUM_EPISODES * EPISODE_FRAMES,)
    assert np.isfinite(found).all()
    assert np.ptp(found) > 0

    # One test episode proves nothing: the verdict of the training is that of the evaluation.
    judged = recap("evaluate", trained["id"], fails=True)
    health = json.loads((Path(trained["path"]) / "health.json").read_text(encoding="utf-8"))
    (task,) = judged["tasks"]
    assert task["num_frames"] == health["num_frames"] == EPISODE_FRAMES
    assert task["cross_entropy"] == pytest.approx(health["cross_entropy"], abs=1e-5)
    assert judged["healthy"] is health["healthy"] is False
