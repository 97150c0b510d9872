"""A policy as a directory of its own, for openpi or lerobot."""

from pathlib import Path
from typing import NamedTuple

from recap_core.config.import_policy import ExportPolicyConfig
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.store import Store
from recap_core.progress import Progress


class ExportedPolicy(NamedTuple):
    """What was written."""

    directory: Path
    """openpi: the directory of the step; lerobot: of the policy."""
    has_lora: bool
    num_bytes: int


def export_policy(
    policy: PolicyCheckpoint,
    output: Path,
    config: ExportPolicyConfig,
    *,
    store: Store,
    progress: Progress | None = None,
) -> ExportedPolicy:
    """Write a policy outside the store; the directory appears whole or not at all.

    Args:
        policy: What to write; its content is verified first.
        output: openpi: directory of an experiment, in which the step must not exist; lerobot: a
            directory that does not exist or is empty.
        config: Which layout, and how.
        store: Where the policy is.
        progress: Who watches.

    Raises:
        CorruptArtifactError: If the policy differs from what was published.
        ConfigError: If adapters are to be merged and there are none, or the layout cannot hold the
            policy, as lerobot's cannot LoRA.
        CheckpointError: If a base policy, which has no norm stats, is to go to lerobot.
        DataError: If the directory is taken.
    """
    from recap_core.lineage.atomic_directory import atomic_directory
    from recap_core.lineage.files import walk

    store.verify(policy)
    source, target = store.path(policy), output.expanduser().absolute()
    if target.resolve().is_relative_to(store.home.resolve()):
        raise ConfigError(
            f"{target} is inside of the store {store.home}. Choose another directory."
        )
    if config.layout == "openpi":
        step = max(policy.num_steps - 1, 0) if config.step is None else config.step
        target /= str(step)
    with atomic_directory(target) as draft:
        write = _write_openpi if config.layout == "openpi" else _write_lerobot
        has_lora = write(source, draft, config, progress)
        num_bytes = sum(file.stat.st_size for file in walk(draft).files)
    return ExportedPolicy(target, has_lora, num_bytes)


def _write_openpi(
    source: Path, draft: Path, config: ExportPolicyConfig, progress: Progress | None
) -> bool:
    from recap_core.checkpoints.openpi_layout import write_openpi_step

    written = write_openpi_step(
        source,
        draft,
        nnx_values=config.nnx_values,
        merge_lora=config.merge_lora,
        progress=progress,
    )
    return written.model.vlm.lora is not None or written.model.expert.lora is not None


def _write_lerobot(
    source: Path, draft: Path, config: ExportPolicyConfig, progress: Progress | None
) -> bool:
    del progress
    from recap_core.checkpoints.lerobot_policy import check_exchangeable, write_lerobot_settings
    from recap_core.checkpoints.lerobot_weights import WEIGHTS, write_lerobot_params
    from recap_core.checkpoints.merging import merged_params
    from recap_core.checkpoints.params import load_params
    from recap_core.checkpoints.policy_checkpoint import read_policy

    files = read_policy(source)
    if config.merge_lora:
        params, policy = merged_params(files.params, files.config)
        check_exchangeable(policy)
    else:
        policy = files.config
        check_exchangeable(policy)
        params = load_params(files.params)
    dtype = str(params["PaliGemma"]["llm"]["embedder"]["input_embedding"].dtype)
    write_lerobot_params(draft / WEIGHTS, params, policy.model, vision_model=config.vision_model)
    write_lerobot_settings(draft, policy, files.norm_stats, dtype=dtype)
    return False
