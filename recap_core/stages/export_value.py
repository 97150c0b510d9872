"""A value model as a step of the reference's value training, for its scripts."""

from pathlib import Path
from typing import NamedTuple

from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.store import Store
from recap_core.stages.value_loading import check_has_weights


class ExportedValueModel(NamedTuple):
    """What was written."""

    directory: Path
    num_leaves: int
    """Of the raw parameters; the averaged ones have as many."""
    num_bytes: int


def export_value(
    value_model: ValueCheckpoint, output: Path, *, step: int | None = None, store: Store
) -> ExportedValueModel:
    """Write ``output/step_%08d``: Orbax with ``params``, ``ema_params`` and ``step``.

    Names and axes are the reference's: Gemma layer by layer, SigLIP stacked. Where training kept no
    average, ``ema_params`` repeats ``params``, for the reference infers with it.

    Args:
        value_model: What to write; its content is verified first.
        output: Directory of a training, in which the step must not exist.
        step: Number of the step; None: the training steps behind the value model.
        store: Where the value model is.

    Raises:
        CorruptArtifactError: If the value model differs from what was published.
        ConfigError: If the reference has no such value model, or ``output`` is in the store.
        CheckpointError: If the step exists, or leaves were never trained.
    """
    from recap_core.checkpoints.files import write_tree
    from recap_core.checkpoints.params import load_params
    from recap_core.checkpoints.trees import flatten, unflatten
    from recap_core.checkpoints.value_checkpoint import read_value_model
    from recap_core.checkpoints.value_places import STEP
    from recap_core.checkpoints.value_weights import reference_leaves
    from recap_core.lineage.files import walk

    check_has_weights(value_model)
    store.verify(value_model)
    target = output.expanduser().absolute()
    if target.resolve().is_relative_to(store.home.resolve()):
        raise ConfigError(
            f"{target} is inside of the store {store.home}. Choose another directory."
        )
    files = read_value_model(store.path(value_model))
    model = files.settings.config.model
    differences = {
        "model.fusion must be cross_attention": model.fusion != "cross_attention",
        "model.state_input must not be continuous": model.state_input == "continuous",
        "model.views must not be empty": not model.views,
        "Gemma must have no LoRA": model.gemma.lora is not None,
    }
    if wrong := [rule for rule, is_broken in differences.items() if is_broken]:
        raise ConfigError(f"the reference has no such value model: {'; '.join(wrong)}.")
    number = value_model.num_steps if step is None else step
    directory = target / f"{STEP}{number:08d}"
    params = reference_leaves(flatten(load_params(files.params)))
    averaged = params
    if files.ema_params is not None:
        averaged = reference_leaves(flatten(load_params(files.ema_params)))
    tree = {"params": unflatten(params), "ema_params": unflatten(averaged), "step": number}
    write_tree(directory, tree)
    num_bytes = sum(file.stat.st_size for file in walk(directory).files)
    return ExportedValueModel(directory, len(params), num_bytes)
