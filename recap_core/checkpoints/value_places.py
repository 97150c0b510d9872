"""Where weights for a value model lie, and whose files they are.

A person may name any of

    <bundle>/                            gemma-3-270m/step_00020000/ and
                                         siglip2-so400m-patch14-224-jax/siglip2_so400m14_224.npz
    <training>/                          what the reference's value training wrote: step_%08d
    <training>/step_00005000/            Orbax: params, ema_params, step
    <gemma>/                             DeepMind's Gemma 3: Orbax, transformer/layer_0/...
    <siglip>.npz                         big_vision's SigLIP
    <model>/                             transformers: model.safetensors (or parts), config.json
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from recap_core.checkpoints.locate import is_complete
from recap_core.checkpoints.weight_files import INDEX, SAFETENSORS, open_orbax, open_safetensors
from recap_core.config.import_value import Part, ValueLayout
from recap_core.errors import CheckpointError, ConfigError

_log = logging.getLogger(__name__)

BUNDLE_GEMMA = "gemma-3-270m"
BUNDLE_SIGLIP = "siglip2-so400m-patch14-224-jax"
BACKBONES = ("img", "llm")
STEP = "step_"
WHERE = (
    "Weights are never fetched. Get google/siglip2-so400m-patch14-224 (or big_vision's "
    "siglip2_so400m14_224.npz) and google/gemma-3-270m (accept its licence first), or the bundle "
    "ybpy/vlm_ckpt, put them anywhere, and name them; OPENPI_VLM_CKPT_DIR names the bundle"
)


class Place(NamedTuple):
    """One checkpoint, as it was found."""

    path: Path
    """Directory of Orbax or of transformers, or a file."""
    layout: ValueLayout
    take: tuple[str, ...] | None = None
    """Parts that are taken; None: all that it holds."""
    step: int | None = None
    """Of the reference's training."""


def find_places(path: Path, *, take: Part, layout: ValueLayout | None = None) -> list[Place]:
    """The checkpoints that ``path`` means.

    Args:
        path: See the module.
        take: Of the reference's value models: every part, or SigLIP and Gemma alone. A bundle's
            backbones are its npz, and DeepMind's Gemma where the bundle has one.
        layout: Whose files they are; None: as they look.

    Raises:
        CheckpointError: If nothing is there that can be read; says what is there, and where
            weights come from.
    """
    path = path.expanduser().absolute()
    if not path.exists():
        raise CheckpointError(f"there is no {path}. {WHERE}.")
    if layout is not None:
        return [Place(path, layout)._replace(take=_taken(layout, take), step=_step(path))]
    if path.is_dir() and any((path / name).is_dir() for name in (BUNDLE_GEMMA, BUNDLE_SIGLIP)):
        return _bundle(path, take)
    return [_place(path, take)]


def _bundle(path: Path, take: Part) -> list[Place]:
    gemma, siglip = path / BUNDLE_GEMMA, path / BUNDLE_SIGLIP
    step = _newest_step(gemma) if gemma.is_dir() else None
    if take == "all":
        if step is None:
            raise CheckpointError(
                f"{gemma} holds no value model: there is no complete {STEP}* in it. Copy the whole "
                "bundle again, or take its SigLIP and Gemma alone with --take backbones. " + WHERE
            )
        return [_place(step, take)]
    found = [_place(siglip, take)] if siglip.is_dir() else []
    if (gemma / "_METADATA").is_file():
        found.append(Place(gemma, "deepmind_gemma"))
    elif step is not None:
        found.append(Place(step, "value_model", ("llm",), _step(step)))
    if len(found) < len(BACKBONES):
        missing = siglip if not siglip.is_dir() else gemma
        raise CheckpointError(
            f"the bundle {path} has no weights in {missing}. Copy the whole bundle again. {WHERE}."
        )
    return found


def _place(path: Path, take: Part) -> Place:
    if path.is_file():
        if path.suffix == ".npz":
            return Place(path, "big_vision")
        if path.suffix == ".safetensors":
            return Place(path, _whose_tensors(path, open_safetensors(path).arrays))
        raise CheckpointError(f"{path} is neither an .npz nor a .safetensors. {WHERE}.")
    if (path / "_METADATA").is_file():
        layout = _whose_leaves(path, open_orbax(path).arrays)
        return Place(path, layout, _taken(layout, take), _step(path))
    if any((path / name).is_file() for name in (SAFETENSORS, INDEX)):
        return Place(path, _whose_tensors(path, open_safetensors(path).arrays))
    step = _newest_step(path)
    if step is not None:
        return _place(step, take)
    files = sorted(path.glob("*.npz"))
    if len(files) == 1:
        return Place(files[0], "big_vision")
    raise CheckpointError(f"{path} holds no weights of a value model: {_listing(path)}. {WHERE}.")


def _taken(layout: ValueLayout, take: Part) -> tuple[str, ...] | None:
    return BACKBONES if layout == "value_model" and take == "backbones" else None


def _whose_leaves(path: Path, names: Iterable[str]) -> ValueLayout:
    names = list(names)
    if any("llm" in name.split("/")[:2] for name in names):
        return "value_model"
    if any("embedder/input_embedding" in name for name in names):
        return "deepmind_gemma"
    tops = sorted({name.partition("/")[0] for name in names})
    raise CheckpointError(
        f"{path} is an Orbax checkpoint of something else: its top keys are {tops[:8]}. "
        f"A value model has params/llm, DeepMind's Gemma 3 transformer/embedder. {WHERE}."
    )


def _whose_tensors(path: Path, names: Iterable[str]) -> ValueLayout:
    names = list(names)
    if any(name.endswith("layers.0.self_attn.q_norm.weight") for name in names):
        return "transformers_gemma"
    if any(name.endswith("embeddings.patch_embedding.weight") for name in names):
        return "transformers_siglip"
    raise CheckpointError(
        f"{path} holds neither SigLIP nor Gemma 3: its tensors are {sorted(names)[:3]}. {WHERE}."
    )


def _newest_step(directory: Path) -> Path | None:
    """The complete ``step_%08d`` with the highest number."""
    steps = [path for path in directory.iterdir() if path.is_dir() and _step(path) is not None]
    complete = sorted(
        (path for path in steps if is_complete(path)), key=lambda path: _step(path) or 0
    )
    for path in sorted(set(steps) - set(complete)):
        _log.warning("%s is left out: it is not complete", path)
    return complete[-1] if complete else None


def _step(path: Path) -> int | None:
    number = path.name.removeprefix(STEP)
    is_step = path.name.startswith(STEP) and number.isascii() and number.isdecimal()
    return int(number) if is_step else None


def _listing(path: Path, *, max_names: int = 8) -> str:
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "it is empty"
    return f"it holds {', '.join(names[:max_names])}" + (", ..." if len(names) > max_names else "")


def check_one_path(paths: list[Path], layout: ValueLayout | None) -> None:
    """Raise ConfigError if a layout is said of several paths, which need not be alike."""
    if layout is not None and len(paths) != 1:
        raise ConfigError(f"--layout {layout} says what one PATH is; {len(paths)} are named")
