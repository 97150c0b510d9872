"""Which value model a command trains, and how: from a preset, a file, or the start's own."""

from pathlib import Path

from deployments.cli.artifact_arguments import artifact_of_kind
from deployments.cli.configuration import load_settings
from recap_core.config.presets import PRETRAINED_VALUE, SizePreset, train_value_config
from recap_core.config.stages import TrainValueConfig
from recap_core.errors import ArtifactNotFoundError, ConfigError
from recap_core.lineage.artifacts import NormStats, ValueCheckpoint
from recap_core.lineage.store import Store


def value_settings(
    file: str | None,
    preset: SizePreset | None,
    overrides: list[str],
    *,
    store: Store,
    start: ValueCheckpoint | None,
) -> TrainValueConfig:
    """The settings that a person named; the tokenizer's digest is not filled in yet.

    Args:
        file: YAML, laid over the preset or the start's own model.
        preset: Size of the model, and how it trains.
        overrides: Single settings, ``KEY=VALUE``.
        store: Where ``start`` is.
        start: Value model to start from; its targets are kept. Without a preset its model is
            trained, as ``single_gpu`` trains.

    Raises:
        ConfigError: If nothing names a model, or a setting is wrong.
    """
    if preset is None and start is None:
        raise ConfigError(
            "nothing says which value model to train: name its size with --preset, or start from "
            "one with --start"
        )
    base = train_value_config(preset or "single_gpu")
    if start is not None:
        from recap_core.checkpoints.value_checkpoint import read_value_model

        settings = read_value_model(store.path(start)).settings
        if preset is None:
            base = base.model_copy(update={"value": settings.config})
        # A head that has yet to be trained counts nothing so far; another goes on counting so.
        if not any(leaf.startswith("value_head/") for leaf in start.fresh_leaves):
            base = base.model_copy(update={"targets": settings.targets})
    return load_settings(base, file=None if file is None else Path(file), overrides=overrides)


def named_value_start(reference: str | None, *, store: Store) -> ValueCheckpoint | None:
    """The value model that a person named; None if nobody did.

    Raises:
        ArtifactNotFoundError: If it does not exist.
        IncompatibleError: If it is something else.
    """
    if reference is None:
        return None
    return artifact_of_kind(store, reference, ValueCheckpoint, wanted="a value model")


def needed_value_start(config: TrainValueConfig, *, store: Store) -> ValueCheckpoint | None:
    """The pretrained value model, where ``config`` freezes a part that must not stay random.

    Raises:
        ArtifactNotFoundError: If it is needed and was not imported; says how.
    """
    if config.freeze == "none" and config.value.model.gemma.lora is None:
        return None
    if store.get_ref(PRETRAINED_VALUE) is None:
        raise ArtifactNotFoundError(
            f"freeze is {config.freeze!r}, so training must start from pretrained weights, and "
            f"there is no ref {PRETRAINED_VALUE} in {store.home}. Import them with: recap value "
            f"import <weights> --ref {PRETRAINED_VALUE}, name another start with --start, "
            "or train everything from fresh parameters with -s freeze=none"
        )
    return named_value_start(PRETRAINED_VALUE, store=store)


def own_norm_stats(value_model: ValueCheckpoint, *, store: Store) -> NormStats | None:
    """Those that a value model was trained with, or what it was aligned from; None: no such.

    Raises:
        ArtifactNotFoundError: If they were removed.
    """
    parents = {parent.role: parent.id for parent in store.manifest(value_model).parents}
    if "norm_stats" in parents:
        found = store.get(parents["norm_stats"])
        return found if isinstance(found, NormStats) else None
    earlier = store.get(parents["start"]) if "start" in parents else None
    return own_norm_stats(earlier, store=store) if isinstance(earlier, ValueCheckpoint) else None
