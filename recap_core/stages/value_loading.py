"""A published value model, ready to look at observations."""

from typing import TYPE_CHECKING, NamedTuple

from recap_core.errors import CheckpointError
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.store import Store

if TYPE_CHECKING:
    from recap_core.config.labels import TargetConfig
    from recap_core.config.value import ValueConfig
    from recap_core.models.parameters import Params
    from recap_core.transforms.value_transform import ValueTransform


class LoadedValueModel(NamedTuple):
    """What a value model is made of."""

    config: "ValueConfig"
    params: "Params"
    transform: "ValueTransform"
    targets: "TargetConfig"


def load_value_model(
    store: Store, value_model: ValueCheckpoint, *, use_ema: bool = True
) -> LoadedValueModel:
    """Read a value model, and keep what is compiled for it in the store's cache.

    Args:
        store: Where it is.
        value_model: Which.
        use_ema: Its averaged parameters, where it has them.

    Raises:
        CheckpointError: If it is an import with leaves that have yet to be trained, or does not fit
            its own configuration.
    """
    import jax

    from recap_core.checkpoints.params import load_params
    from recap_core.checkpoints.value_checkpoint import read_value_model
    from recap_core.models.value_model import ValueModel
    from recap_core.stages.train_value import value_transform
    from recap_core.training.compilation_cache import enable_compilation_cache

    check_has_weights(value_model)
    enable_compilation_cache(store.home / "cache" / "xla")
    files = read_value_model(store.path(value_model))
    settings = files.settings
    like = jax.eval_shape(ValueModel(settings.config.model).init, jax.random.key(0))
    path = files.ema_params if use_ema and files.ema_params else files.params
    return LoadedValueModel(
        settings.config,
        load_params(path, like),
        value_transform(settings.config, settings.norm_stats),
        settings.targets,
    )


def check_has_weights(value_model: ValueCheckpoint) -> None:
    """Raise CheckpointError if a value model has leaves that were drawn and never trained."""
    fresh = value_model.fresh_leaves
    if fresh:
        parts = sorted({leaf.partition("/")[0] for leaf in fresh})
        raise CheckpointError(
            f"the value model {value_model.name}-{value_model.id[:8]} was "
            f"{'aligned' if value_model.source is None else 'imported'} and not trained: "
            f"{len(fresh)} leaves ({', '.join(parts)}) are fresh, so its values mean "
            "nothing. Start a training from it first."
        )
