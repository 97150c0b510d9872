"""The presets of full size run the same flows: here with nothing small but sizes and counts."""

from pathlib import Path

import pytest

from flows.bootstrap import bootstrap
from flows.loop import recap_loop
from recap_core.checkpoints.policy_checkpoint import read_policy
from recap_core.config.flows import ProjectConfig
from recap_core.errors import ArtifactNotFoundError
from recap_core.lineage.store import Store

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


def test_every_stage_of_a_round(
    prefect_api: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_single_gpu_project: ProjectConfig,
) -> None:
    """LoRA policies that look through three cameras: SFT, rollouts, labels, fine-tuning."""
    del prefect_api
    monkeypatch.setenv("RECAP_HOME", str(tmp_path))
    project = small_single_gpu_project
    fresh = project.bootstrap.model_copy(update={"start": None})

    result = recap_loop(project.model_copy(update={"bootstrap": fresh}), 1)

    store = Store(tmp_path)
    policy = result.rounds[0].learning.policy
    config = read_policy(store.path(policy)).config
    assert config == project.iteration.finetune.policy
    assert config.model.vlm.lora is not None
    assert len(config.model.views) == 3
    assert result.bootstrap.policy.id in policy.parents
    assert result.bootstrap.recording.cameras == (
        "head_camera",
        "left_wrist_camera",
        "right_wrist_camera",
    )
