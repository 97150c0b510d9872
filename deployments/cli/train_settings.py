"""Which policy a command trains, and how: from a name, a file, a preset or the start's own."""

from pathlib import Path

from deployments.cli.configuration import load_settings
from deployments.cli.resolution import with_tokenizer_digest
from recap_core.config.presets import SizePreset, policy_config
from recap_core.config.stages import TrainPolicyConfig
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.store import Store


def train_settings(
    config: str | None,
    preset: SizePreset | None,
    overrides: list[str],
    *,
    store: Store,
    start: PolicyCheckpoint | None,
) -> TrainPolicyConfig:
    """The settings that a person named, tokenizer digest included.

    Args:
        config: Name of a registered configuration, or a YAML file, laid over the preset's or the
            start's policy.
        preset: Size of the policy.
        overrides: Single settings, ``KEY=VALUE``.
        store: Where ``start`` is.
        start: Policy to start from; its own model is the default.

    Raises:
        ConfigError: If nothing names a model, or two things do, or a setting is wrong.
    """
    file = Path(config) if config and config.endswith((".yaml", ".yml")) else None
    if config is not None and file is None:
        if preset is not None:
            raise ConfigError(
                f"--config {config} and --preset {preset} both name a policy; choose one"
            )
        from recap_core.config.registry import policy_setup

        base = policy_setup(config).train
    elif preset is not None:
        base = TrainPolicyConfig(policy=policy_config(preset))
    elif start is not None:
        from recap_core.checkpoints.policy_checkpoint import read_policy

        base = TrainPolicyConfig(policy=read_policy(store.path(start)).config)
    else:
        raise ConfigError(
            "nothing says which policy to train: name one with --config (recap configs list) or "
            "--preset, or start from one with --start"
        )
    return with_tokenizer_digest(load_settings(base, file=file, overrides=overrides))
