"""Which policy a command trains, and how: from a name, a file, a preset or the start's own."""

from pathlib import Path

from deployments.cli.artifact_arguments import artifact_of_kind
from deployments.cli.configuration import load_settings
from recap_core.config.policy import PolicyConfig
from recap_core.config.policy_setup import PolicySetup
from recap_core.config.presets import SizePreset, train_policy_config
from recap_core.config.registry import policy_setup
from recap_core.config.stages import TrainPolicyConfig
from recap_core.config.training import AugmentConfig, TrainConfig
from recap_core.errors import ArtifactNotFoundError, ConfigError
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
    """The settings that a person named; the tokenizer's digest is not filled in yet.

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
    setup, file = _named(config)
    if setup is not None:
        base = setup.train
    elif preset is not None:
        base = train_policy_config(preset)
    elif start is not None:
        from recap_core.checkpoints.policy_checkpoint import read_policy_config

        policy = read_policy_config(store.path(start))
        base = TrainPolicyConfig(policy=policy, train=_openpi_training(policy))
    else:
        raise ConfigError(
            "nothing says which policy to train: name one with --config (recap configs list) or "
            "--preset, or start from one with --start"
        )
    return load_settings(base, file=file, overrides=overrides)


def starting_policy(
    reference: str | None, config: str | None, *, store: Store
) -> PolicyCheckpoint | None:
    """The policy that a person named, or that a named configuration starts from.

    Args:
        reference: Artifact, or None.
        config: As for :func:`train_settings`.
        store: Where it is.

    Raises:
        ArtifactNotFoundError: If it does not exist.
        ConfigError: If the configuration starts from the user's own SFT and none is named.
    """
    if reference is not None:
        return artifact_of_kind(store, reference, PolicyCheckpoint, wanted="a policy")
    setup, _ = _named(config)
    if setup is None or setup.start is None:
        return None
    if setup.start == "sft":
        raise ConfigError(
            f"{setup.name} starts from your SFT policy: name it with --start, or train it first "
            "with recap sft"
        )
    return _pretrained(setup.start, setup.name, store)


def check_one_policy(config: str | None, preset: SizePreset | None) -> None:
    """Raise ConfigError if both a named configuration and a preset are given."""
    if preset is not None and _named(config)[0] is not None:
        raise ConfigError(f"--config {config} and --preset {preset} both name a policy; choose one")


def _openpi_training(policy: PolicyConfig) -> TrainConfig:
    """How openpi trains such a policy: images change at random, adapters are not averaged."""
    model = policy.model
    is_lora = model.vlm.lora is not None or model.expert.lora is not None
    return TrainConfig(
        augment=AugmentConfig() if model.views else None, ema_decay=None if is_lora else 0.99
    )


def _named(config: str | None) -> tuple[PolicySetup | None, Path | None]:
    """What ``--config`` means: a registered configuration, or a file."""
    if config is None:
        return None, None
    if config.endswith((".yaml", ".yml")):
        return None, Path(config)
    return policy_setup(config), None


def _pretrained(base: str, config: str, store: Store) -> PolicyCheckpoint:
    family, _, kind = base.partition("_")
    ref = f"pretrained/{family}/{kind}"
    if store.get_ref(ref) is None:
        raise ArtifactNotFoundError(
            f"{config} starts from {base}, and there is no ref {ref} in {store.home}. Import the "
            f"published checkpoint with: recap import-policy <checkpoint> --config {base} --ref "
            f"{ref}, or name another start with --start"
        )
    return artifact_of_kind(store, ref, PolicyCheckpoint, wanted="a policy")
