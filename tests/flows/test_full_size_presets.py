"""The presets of full size run the same flows: here with nothing small but sizes and counts."""

from pathlib import Path

import jax
import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from flows.bootstrap import bootstrap
from flows.loop import recap_loop
from recap_core.checkpoints.params import save_params
from recap_core.checkpoints.policy_checkpoint import read_policy
from recap_core.config.flows import ProjectConfig
from recap_core.config.policy import PolicyConfig
from recap_core.config.presets import PRETRAINED_POLICY
from recap_core.errors import ArtifactNotFoundError
from recap_core.lineage.store import Store
from recap_core.models.policy import Policy

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow,
    # Prefect leaves clients of finished runs to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    ),
]


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
        bootstrap(small_single_gpu_project)

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


def test_every_stage_of_a_round(
    prefect_api: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_single_gpu_project: ProjectConfig,
) -> None:
    """From an imported base: LoRA policies that look through three cameras, SFT to fine-tuning."""
    del prefect_api
    home = tmp_path / "home"
    monkeypatch.setenv("RECAP_HOME", str(home))
    project = small_single_gpu_project
    import_base(tmp_path / "base", project.bootstrap.sft.policy)

    result = recap_loop(project, 1)

    store = Store(home)
    policy = result.rounds[0].learning.policy
    config = read_policy(store.path(policy)).config
    assert config == project.iteration.finetune.policy
    assert config.model.vlm.lora is not None
    assert len(config.model.views) == 3
    assert store.get(PRETRAINED_POLICY).id in result.bootstrap.policy.parents
    assert result.bootstrap.policy.id in policy.parents
    assert len(result.bootstrap.recording.cameras) == 3
