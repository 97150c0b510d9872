"""The parameters of lerobot's pi0.5 (``model.safetensors``), read into our tree and written."""

import logging
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from recap_core.checkpoints.lerobot_names import (
    EMBEDDING,
    TIED_HEAD,
    UNUSED_HEAD,
    Slot,
    canonical_name,
    lerobot_name,
    slots,
)
from recap_core.checkpoints.safetensors_files import Described, Tensor, read_tensors, write_tensors
from recap_core.checkpoints.trees import TreeReport, compare_trees, flatten, unflatten
from recap_core.checkpoints.weight_files import INDEX, SAFETENSORS, safetensors_files
from recap_core.config.policy import PolicyModelConfig
from recap_core.errors import CheckpointError
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy
from recap_core.progress import Progress, Silent

_log = logging.getLogger(__name__)

WEIGHTS = SAFETENSORS
_BUFFERS = ("position_ids", "inv_freq")
"""Tensors that modules compute by themselves; old files hold them."""
_SIZES_HINT = (
    "Use the configuration of the sizes that it was trained with, without LoRA (lerobot's LoRA "
    "lies in other files)"
)


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a policy: one, or the parts that its index names.

    Raises:
        CheckpointError: If there are none, or the index names a file that is not beside it.
    """
    if not any((directory / name).is_file() for name in (WEIGHTS, INDEX)):
        raise CheckpointError(f"{directory} has no {WEIGHTS}, so it is no policy of lerobot")
    return safetensors_files(directory)


def read_lerobot_params(
    directory: Path, model: PolicyModelConfig, *, progress: Progress | None = None
) -> Params:
    """Read a policy's parameters as NumPy arrays, each of the dtype that it has in the file.

    Leaves are filled tensor by tensor from the mapped file, so the host holds them once.

    Args:
        directory: What lerobot's ``save_pretrained`` wrote.
        model: Its sizes.
        progress: Who watches.

    Raises:
        CheckpointError: If a tensor is missing, extra or of another shape; names the first ones.
    """
    tensors: dict[str, Tensor] = {}
    for file in weight_files(directory):
        tensors |= {canonical_name(name): tensor for name, tensor in read_tensors(file).items()}
    shapes = jax.eval_shape(Policy(model).init, jax.random.key(0))
    wanted = slots(model)
    tensors = _usable(tensors, wanted, flatten(shapes), where=directory)
    parts: dict[str, list[Slot]] = {}
    for slot in wanted:
        parts.setdefault(slot.leaf, []).append(slot)
    leaves: dict[str, np.ndarray] = {}
    with (progress or Silent()).bar("read parameters", len(parts)) as bar:
        for done, (leaf, shape) in enumerate(flatten(shapes).items(), start=1):
            dtypes = [tensors[slot.tensor].dtype for slot in parts[leaf]]
            array = np.empty(shape.shape, _common_dtype(dtypes))
            for slot in parts[leaf]:
                slot.put(array, tensors[slot.tensor].read())
            leaves[leaf] = array
            bar.update(done)
    return unflatten(leaves)


def write_lerobot_params(
    path: Path, params: Params, model: PolicyModelConfig, *, vision_model: bool = True
) -> None:
    """Write parameters as lerobot's ``model.safetensors``, every leaf in its own dtype.

    The language head of the VLM repeats the embedding, and that of the action expert, which nothing
    reads, is zero: lerobot wants both to be there.

    Args:
        path: New file.
        params: NumPy arrays.
        model: Their architecture, a pi0.5 without LoRA.
        vision_model: Name tensors as transformers before 5.6 does, which lerobot 0.6 pins.
    """
    flat = flatten(params)

    def described(slot: Slot) -> Described:
        leaf = flat[slot.leaf]
        return Described(slot.tensor_shape(leaf.shape), leaf.dtype, lambda: slot.to_tensor(leaf))

    tensors = {slot.tensor: described(slot) for slot in slots(model)}
    tensors[TIED_HEAD] = tensors[EMBEDDING]
    unused = (tensors[EMBEDDING].shape[0], model.expert.width)
    dtype = tensors[EMBEDDING].dtype
    tensors[UNUSED_HEAD] = Described(unused, dtype, lambda: np.zeros(unused, dtype))
    named = {
        lerobot_name(name, vision_model=vision_model): tensor for name, tensor in tensors.items()
    }
    write_tensors(path, dict(sorted(named.items())), metadata={"format": "pt"})


def _usable(
    tensors: dict[str, Tensor],
    wanted: list[Slot],
    shapes: Mapping[str, jax.ShapeDtypeStruct],
    *,
    where: Path,
) -> dict[str, Tensor]:
    """The tensors that are wanted, after checking that nothing is missing or left over."""
    tensors = dict(tensors)
    head = tensors.pop(TIED_HEAD, None)
    tensors.pop(UNUSED_HEAD, None)
    if head is not None:
        # openpi's own conversion writes the shared matrix under the head's name alone.
        tensors.setdefault(EMBEDDING, head)
    num_rows = shapes["PaliGemma/llm/embedder/input_embedding"].shape[0]
    if EMBEDDING in tensors:
        tensors[EMBEDDING] = _first_rows(tensors[EMBEDDING], num_rows)
    expected = {slot.tensor: slot.tensor_shape(shapes[slot.leaf].shape) for slot in wanted}
    found = {name: t for name, t in tensors.items() if not name.endswith(_BUFFERS)}
    report = _report(expected, found)
    if not report.is_match:
        raise CheckpointError(
            f"the tensors in {where} do not fit the model: {report.describe()}. {_SIZES_HINT}."
        )
    return tensors


def _report(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]) -> TreeReport:
    dtype = np.dtype(np.float32)
    return compare_trees(
        {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in expected.items()},
        {name: jax.ShapeDtypeStruct(tensor.shape, dtype) for name, tensor in found.items()},
    )


def _first_rows(table: Tensor, num_rows: int) -> Tensor:
    """The embedding of the model's vocabulary; Hugging Face pads PaliGemma's by 64 unused rows."""
    if len(table.shape) != 2 or table.shape[0] <= num_rows:
        return table
    _log.warning("rows %d to %d of the embedding are left out", num_rows, table.shape[0] - 1)
    return table._replace(shape=(num_rows, table.shape[1]))


def _common_dtype(dtypes: list[np.dtype]) -> np.dtype:
    """The dtype of all layers, or float32 where they differ."""
    return dtypes[0] if len(set(dtypes)) == 1 else np.dtype(np.float32)
