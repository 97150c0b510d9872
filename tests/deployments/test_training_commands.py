"""``recap sft`` and ``recap finetune`` as a user meets them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from deployments.cli.train_settings import train_settings
from recap_core.checkpoints.policy_checkpoint import read_policy, write_settings
from recap_core.config.dataset import NormStatsConfig
from recap_core.config.policy import PolicyConfig, PolicyModelConfig
from recap_core.config.sizes import PI05, PI05_LORA, TINY_POLICY
from recap_core.config.training import AugmentConfig
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.errors import IncompatibleError, RecapError
from recap_core.lineage.artifacts import Dataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.norm_stats import compute_norm_stats
from recap_core.stages.registry import CONVERT, TRAIN_POLICY, NoSettings

TINY = (
    "--preset=tiny",
    "--set=policy.embodiment.state=[observation.state]",
    "--set=policy.model.state_dim=14",
    "--set=policy.model.vlm.depth=1",
    "--set=policy.model.expert.depth=1",
)
SHORT = (
    "--set=train.num_steps=2",
    "--set=train.batch_size=2",
    "--set=train.optimizer.warmup_steps=1",
    "--set=train.optimizer.decay_steps=2",
)


def store_dataset(home: Path, name: str, num_episodes: int) -> Dataset:
    episodes = [
        SyntheticEpisode(interventions=(4, 5), success=i % 2 == 0) for i in range(num_episodes)
    ]

    def build(area: Build) -> Built:
        summary = write_synthetic_dataset(area.output, episodes, SyntheticRobot(cameras=()))
        return Built(summary._asdict())

    config = NormStatsConfig(action_horizon=num_episodes)  # any config: it makes the key differ
    return Store(home).produce(CONVERT, config, {}, name=name, build=build)


def recap(*arguments: str) -> Result:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_sft_then_finetune_from_it(recap_home: Path) -> None:
    """Every SFT prompt asks for ``positive``; the fine-tuning keeps model and norm stats."""
    dataset = store_dataset(recap_home, "rollouts", 2)

    sft = json.loads(recap("sft", dataset.id, *TINY, *SHORT, "--ref", "my/yam/start").stdout)
    tuned = json.loads(recap("finetune", dataset.id, "--start", "my/yam/start", *SHORT).stdout)

    store = Store(recap_home)
    first, second = store.get("my/yam/start"), store.get(tuned["id"])
    assert first.id == sft["id"]
    assert first.id in second.parents
    assert read_policy(store.path(first)).config == read_policy(store.path(second)).config
    conditions = [store.manifest(artifact).config.get("condition") for artifact in (first, second)]
    assert conditions == ["positive", None]
    assert sft["metrics"]["loss"] > 0
    # The same norm stats artifact: computed once, found again through the start.
    assert set(first.parents) & set(second.parents) - {dataset.id}


def test_norm_stats_of_another_robot_need_a_word(recap_home: Path) -> None:
    """Other stats shift every action that a policy has learned, so they are asked for by name."""
    dataset, other = (store_dataset(recap_home, f"data-{n}", n) for n in (2, 3))
    recap("sft", dataset.id, *TINY, *SHORT, "--ref", "my/yam/start")
    foreign = compute_norm_stats(
        other, NormStatsConfig(action_horizon=8), name="other", store=Store(recap_home)
    )
    command = ("finetune", other.id, "--start", "my/yam/start", *SHORT)

    with pytest.raises(IncompatibleError, match=r"other norm stats.*new_norm_stats"):
        recap(*command, "--norm-stats", foreign.id)
    assert recap(*command, "--new-norm-stats").exit_code == 0


@pytest.mark.parametrize("how", ["--base", "--copy"])
def test_a_policy_that_left_and_came_back_is_fine_tuned(
    recap_home: Path, tmp_path: Path, how: str
) -> None:
    """Under the norm stats that it brings, or computed ones, whatever their asset is called."""
    dataset = store_dataset(recap_home, "rollouts", 2)
    sft = json.loads(recap("sft", dataset.id, *TINY, *SHORT).stdout)
    recap("export-policy", sft["id"], str(tmp_path / "out"))
    recap("import-policy", str(tmp_path / "out"), how, "--ref", "my/yam/back")

    tuned = json.loads(
        recap(
            "finetune", dataset.id, "--start", "my/yam/back", *SHORT,
            "--set=policy.embodiment.asset_id=other",
        ).stdout
    )  # fmt: skip

    store = Store(recap_home)
    found, before = (read_policy(store.path(store.get(id_))) for id_ in (tuned["id"], sft["id"]))
    assert found.config.embodiment.asset_id == "other"
    assert found.norm_stats.to_json_dict() == before.norm_stats.to_json_dict()


@pytest.mark.parametrize(
    ("model", "augment", "ema_decay"),
    [(TINY_POLICY, None, 0.99), (PI05, AugmentConfig(), 0.99), (PI05_LORA, AugmentConfig(), None)],
)
def test_a_start_alone_trains_by_openpis_defaults(
    tmp_path: Path,
    model: PolicyModelConfig,
    augment: AugmentConfig | None,
    ema_decay: float | None,
) -> None:
    """Images change at random where there are any, and adapters are not averaged."""

    def build(area: Build) -> Built:
        write_settings(area.output, PolicyConfig(model=model), None)
        return Built({"num_steps": 0, "num_params": 1})

    store = Store(tmp_path / "home")
    start = store.produce(TRAIN_POLICY, NoSettings(), {}, name="start", build=build)

    found = train_settings(None, None, [], store=store, start=start).train

    assert (found.augment, found.ema_decay) == (augment, ema_decay)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing says which policy to train.*--config.*--preset.*--start"),
        (("--preset=tiny", "--config=pi06_yam_vial_30fps"), "both name a policy; choose one"),
        (("--config=pi06_yam_vial_30fsp",), "the closest is 'pi06_yam_vial_30fps'"),
        (("--config=pi06_yam_vial_30fps_from_sft",), "starts from your SFT policy.*--start"),
        (("--config=pi06_yam_vial_30fps",), "recap import-policy .*--ref pretrained/pi05/base"),
        (("--preset=tiny", "--set=train.num_step=3"), "'train.num_step'; did you mean 'num_steps'"),
        (("--preset=tiny", "--runtime=save=3"), "unknown setting 'save'"),
        (("--preset=tiny", "--start=nobody"), "nobody"),
    ],
)
def test_a_wrong_request_is_one_helpful_line(
    recap_home: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Before anything is read or trained."""
    dataset = store_dataset(recap_home, "rollouts", 2)

    with pytest.raises(RecapError, match=message):
        recap("finetune", dataset.id, *arguments)


def test_a_yaml_file_is_laid_over_the_preset(recap_home: Path, tmp_path: Path) -> None:
    """And single settings over the file."""
    dataset = store_dataset(recap_home, "rollouts", 2)
    file = tmp_path / "policy.yaml"
    file.write_text("train: {num_steps: 3, batch_size: 2}\n")

    done = recap(
        "finetune", dataset.id, *TINY, "-c", str(file), "--set=train.num_steps=1",
        "--set=train.optimizer.warmup_steps=0",
    )  # fmt: skip

    assert json.loads(done.stdout)["num_steps"] == 1
