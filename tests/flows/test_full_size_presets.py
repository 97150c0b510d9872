"""The presets of full size run the same flows: here with nothing small but sizes and counts."""

import os
from pathlib import Path

import jax
import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from flows.bootstrap import bootstrap
from flows.loop import recap_loop
from recap_core.checkpoints.params import load_params, save_params
from recap_core.checkpoints.policy_checkpoint import read_policy
from recap_core.checkpoints.trees import flatten
from recap_core.checkpoints.value_checkpoint import ValueSettings, write_value_model
from recap_core.config.flows import ProjectConfig
from recap_core.config.labels import TargetConfig
from recap_core.config.policy import PolicyConfig
from recap_core.config.presets import PRETRAINED_POLICY, PRETRAINED_VALUE
from recap_core.config.value import ValueConfig
from recap_core.errors import ArtifactNotFoundError
from recap_core.lineage.store import Build, Built, Store
from recap_core.models.parameters import count_params
from recap_core.models.policy import Policy
from recap_core.models.value_model import ValueModel
from recap_core.stages.registry import TRAIN_VALUE, NoSettings
from recap_core.transforms.normalize import NormStats
from tests.flows.conftest import saved

pytestmark = pytest.mark.slow


def test_a_missing_base_checkpoint_is_named_before_anything_is_recorded(
    prefect_api: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_single_gpu_project: ProjectConfig,
) -> None:
    """And the error says how to import it, and how to do without."""
    del prefect_api
    monkeypatch.setenv("RECAP_HOME", str(tmp_path))

    with pytest.raises(ArtifactNotFoundError, match=r"recap import-policy .*pretrained/pi05/base"):
        bootstrap(saved(small_single_gpu_project))

    assert not list(Store(tmp_path).artifacts())


def import_base(directory: Path, policy: PolicyConfig) -> None:
    """A full policy as openpi releases one, imported by the command line."""
    experts = {
        name: getattr(policy.model, name).model_copy(update={"lora": None})
        for name in ("vlm", "expert")
    }
    full = policy.model_copy(update={"model": policy.model.model_copy(update=experts)})
    directory.mkdir()
    save_params(directory / "params", Policy(full.model).init(jax.random.key(7)))
    config = directory.parent / "base.json"
    config.write_text(full.model_dump_json())
    arguments = ("--policy-config", str(config), "--base", "--ref", PRETRAINED_POLICY)
    done = CliRunner().invoke(app, ["import-policy", str(directory), *arguments])
    assert done.exit_code == 0, done.output


def keep_value_base(store: Store, value: ValueConfig) -> None:
    """Pretrained weights as an import leaves them: a value model of the right sizes."""

    def build(area: Build) -> Built:
        params = ValueModel(value.model).init(jax.random.key(7))
        settings = ValueSettings(value, TargetConfig(), NormStats({}))
        write_value_model(area.output, params, None, settings)
        return Built({"num_steps": 0, "num_params": count_params(params), "healthy": False})

    base = store.produce(TRAIN_VALUE, NoSettings(), {}, name="base", build=build)
    store.set_ref(PRETRAINED_VALUE, base)


def test_missing_value_weights_are_named_before_anything_is_recorded(
    prefect_api: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_single_gpu_project: ProjectConfig,
) -> None:
    """A loop looks for them first, not after a night of recording."""
    del prefect_api
    monkeypatch.setenv("RECAP_HOME", str(tmp_path))

    with pytest.raises(ArtifactNotFoundError, match=r"recap value import .*pretrained/value/base"):
        recap_loop(saved(small_single_gpu_project), rounds=1)

    assert not list(Store(tmp_path).artifacts())


@pytest.mark.skipif(
    not os.environ.get("RECAP_LONG"),
    reason="a minute of compiling: `make stress` runs it, with RECAP_LONG=1",
)
def test_every_stage_of_a_round(
    prefect_api: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_single_gpu_project: ProjectConfig,
) -> None:
    """From imported bases: LoRA policies that look through three cameras, SFT to fine-tuning.

    The value model's encoders are the base's, byte for byte.
    """
    del prefect_api
    home = tmp_path / "home"
    monkeypatch.setenv("RECAP_HOME", str(home))
    project = small_single_gpu_project
    import_base(tmp_path / "base", project.bootstrap.sft.policy)
    keep_value_base(Store(home), project.iteration.value.value)

    result = recap_loop(saved(project), rounds=1)

    store = Store(home)
    policy = result.rounds[0].learning.policy
    config = read_policy(store.path(policy)).config
    assert config == project.iteration.finetune.policy
    assert config.model.vlm.lora is not None
    assert len(config.model.views) == 3
    assert store.get(PRETRAINED_POLICY).id in result.bootstrap.policy.parents
    assert result.bootstrap.policy.id in policy.parents
    assert len(result.bootstrap.recordings[0].cameras) == 3
    value_model = result.rounds[0].learning.value_model
    value_base = store.get(PRETRAINED_VALUE)
    assert value_base.id in value_model.parents
    before, after = (
        flatten(load_params(store.path(one) / "params")) for one in (value_base, value_model)
    )
    same = {leaf for leaf in before if before[leaf].tobytes() == after[leaf].tobytes()}
    assert same == {leaf for leaf in before if leaf.startswith(("img/", "llm/"))}
