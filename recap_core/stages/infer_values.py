"""Stage 5: V(o_t) of every frame, stored once."""

from recap_core.config.stages import InferValuesConfig
from recap_core.errors import CheckpointError
from recap_core.lineage.artifacts import AnyDataset, ValueCheckpoint, Values
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.registry import INFER_VALUES


def infer_values(  # noqa: PLR0913 - the inputs of the stage; the rest by name
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    config: InferValuesConfig,
    *,
    name: str,
    store: Store,
    progress: Progress | None = None,
) -> Values:
    """V(o_t) of every frame of ``dataset``; a killed run keeps its finished shards.

    Raises:
        CheckpointError: If the value model does not fit its own configuration, or is an import
            with leaves that have yet to be trained.
        DataError: If the dataset lacks what the model sees.
    """
    check_has_weights(value_model)

    def build(area: Build) -> Built:
        import jax

        from recap_core.checkpoints.params import load_params
        from recap_core.checkpoints.value_checkpoint import read_value_model
        from recap_core.data.frames import read_frames
        from recap_core.models.value_model import ValueModel
        from recap_core.stages.train_value import value_transform
        from recap_core.training.compilation_cache import enable_compilation_cache
        from recap_core.valuation.inference import infer_values as infer
        from recap_core.valuation.prediction import ValuePredictor
        from recap_core.valuation.values import write_values

        enable_compilation_cache(store.home / "cache" / "xla")
        files = read_value_model(store.path(value_model))
        value = files.settings.config
        like = jax.eval_shape(ValueModel(value.model).init, jax.random.key(0))
        path = files.ema_params if config.use_ema and files.ema_params else files.params
        transform = value_transform(value, files.settings.norm_stats)
        predictor = ValuePredictor(value, load_params(path, like), transform)
        table = read_frames(store.path(dataset))
        values = infer(table, predictor, work=area.work / "values", progress=progress)
        write_values(area.output, values)
        metrics = {"mean": float(values.mean()), "min": float(values.min())}
        return Built({"num_frames": len(values)}, metrics | {"max": float(values.max())})

    inputs = {"dataset": dataset, "value_model": value_model}
    return store.produce(INFER_VALUES, config, inputs, name=name, build=build)


def check_has_weights(value_model: ValueCheckpoint) -> None:
    """Raise CheckpointError if a value model has leaves that were drawn and never trained."""
    fresh = value_model.fresh_leaves
    if fresh:
        parts = sorted({leaf.partition("/")[0] for leaf in fresh})
        raise CheckpointError(
            f"the value model {value_model.name}-{value_model.id[:8]} was imported and not "
            f"trained: {len(fresh)} leaves ({', '.join(parts)}) are fresh, so its values mean "
            "nothing. Start a training from it first."
        )
