"""Which model a parameter tree belongs to, read off its shapes, for people and error messages."""

from typing import NamedTuple

import numpy as np

from recap_core.checkpoints.trees import Tree, TreeReport, compare_trees, flatten
from recap_core.config.policy import GemmaConfig
from recap_core.config.sizes import GEMMA_2B, GEMMA_300M, TINY_POLICY

_LAYERS = "PaliGemma/llm/layers"
_SIZES = {
    "gemma_2b": GEMMA_2B,
    "gemma_300m": GEMMA_300M,
    "the tiny VLM": TINY_POLICY.vlm,
    "the tiny expert": TINY_POLICY.expert,
}
_SIZE_FIELDS = ("width", "depth", "mlp_dim", "num_heads", "num_kv_heads", "head_dim")


class ExpertShape(NamedTuple):
    """Sizes of one Gemma expert."""

    width: int
    depth: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    lora_rank: int | None

    def describe(self) -> str:
        """``gemma_2b``, or the sizes if they are nobody's; then the rank of its adapters."""
        sizes = self[: len(_SIZE_FIELDS)]
        names = [name for name, config in _SIZES.items() if _sizes(config) == sizes]
        text = names[0] if names else (
            f"width {self.width}, depth {self.depth}, mlp {self.mlp_dim}, "
            f"{self.num_heads} heads of {self.head_dim}"
        )  # fmt: skip
        return text if self.lora_rank is None else f"{text} with LoRA rank {self.lora_rank}"


class Architecture(NamedTuple):
    """What the leaves of a policy say about it; None where they say nothing."""

    vlm: ExpertShape | None
    expert: ExpertShape | None
    action_dim: int | None
    vocab_size: int | None
    time_input: str | None
    """``adarms`` (pi0.5) or ``concat`` (pi0)."""
    has_images: bool

    @property
    def lora_ranks(self) -> dict[str, int]:
        """Rank by expert that has adapters."""
        experts = {"vlm": self.vlm, "expert": self.expert}
        return {
            name: shape.lora_rank
            for name, shape in experts.items()
            if shape is not None and shape.lora_rank is not None
        }

    def describe(self) -> str:
        """One phrase: ``pi0.5 of gemma_2b and gemma_300m, action_dim 32``."""
        if self.vlm is None or self.expert is None:
            return "no policy of openpi's kind"
        kind = {"adarms": "pi0.5", "concat": "pi0", None: "a policy"}[self.time_input]
        text = f"{kind} of {self.vlm.describe()} and {self.expert.describe()}"
        if self.action_dim is not None:
            text += f", action_dim {self.action_dim}"
        if self.vocab_size is not None:
            text += f", vocabulary {self.vocab_size}"
        return text if self.has_images else text + ", no cameras"


def read_architecture(params: Tree) -> Architecture:
    """Read the architecture off a tree of arrays or shapes, complete or not."""
    shapes = {path: np.shape(leaf) for path, leaf in flatten(params).items()}
    action = shapes.get("action_in_proj/kernel", ())
    table = shapes.get("PaliGemma/llm/embedder/input_embedding", ())
    time_input = None
    if "time_mlp_in/kernel" in shapes:
        time_input = "adarms"
    elif "action_time_mlp_in/kernel" in shapes:
        time_input = "concat"
    return Architecture(
        vlm=_expert(shapes, ""),
        expert=_expert(shapes, "_1"),
        action_dim=action[0] if len(action) == 2 else None,
        vocab_size=table[0] if len(table) == 2 else None,
        time_input=time_input,
        has_images=any(path.startswith("PaliGemma/img/") for path in shapes),
    )


def explain_mismatch(expected: Tree, found: Tree, report: TreeReport | None = None) -> str:
    """What differs between a configuration's tree and a checkpoint's, and what to do about it.

    Args:
        expected: Tree of the configuration (arrays or shapes).
        found: Tree of the checkpoint.
        report: Their comparison, if it was made already.
    """
    report = report or compare_trees(expected, found)
    want, have = read_architecture(expected), read_architecture(found)
    if want.vlm is None or have.vlm is None:
        return f"{report.describe()}. Use the configuration that the checkpoint was trained with."
    sentences = [report.describe()]
    if _without_lora(want) != _without_lora(have):
        sentences.append(
            f"The checkpoint is {have.describe()}; the configuration is {want.describe()}"
        )
    if want.lora_ranks != have.lora_ranks:
        sentences.append(_lora_advice(want.lora_ranks, have.lora_ranks))
    else:
        sentences.append("Use the configuration that the checkpoint was trained with")
    return ". ".join(sentences) + "."


def _lora_advice(want: dict[str, int], have: dict[str, int]) -> str:
    if have and not want:
        return (
            f"The checkpoint has LoRA adapters ({_ranks(have)}); the configuration has none. "
            "Use the LoRA configuration that it was trained with, or fold the adapters into its "
            "weights with: recap export-policy POLICY OUT --merge-lora"
        )
    if want and not have:
        return (
            f"The configuration has LoRA adapters ({_ranks(want)}); the checkpoint has none. "
            "Use the same configuration without LoRA; a LoRA training may start from this "
            "checkpoint, and makes fresh adapters"
        )
    return (
        f"The checkpoint has LoRA adapters ({_ranks(have)}), the configuration others "
        f"({_ranks(want)}). Use the LoRA configuration that the checkpoint was trained with"
    )


def _ranks(ranks: dict[str, int]) -> str:
    return ", ".join(f"rank {rank} on the {name}" for name, rank in ranks.items())


def _without_lora(shape: Architecture) -> Architecture:
    def plain(expert: ExpertShape | None) -> ExpertShape | None:
        return None if expert is None else expert._replace(lora_rank=None)

    return shape._replace(vlm=plain(shape.vlm), expert=plain(shape.expert))


def _expert(shapes: dict[str, tuple[int, ...]], suffix: str) -> ExpertShape | None:
    q = shapes.get(f"{_LAYERS}/attn/q_einsum{suffix}/w", ())
    kv = shapes.get(f"{_LAYERS}/attn/kv_einsum{suffix}/w", ())
    linear = shapes.get(f"{_LAYERS}/mlp{suffix}/linear", ())
    if (len(q), len(kv), len(linear)) != (4, 5, 3):
        return None
    depth, num_heads, width, head_dim = q
    adapter = shapes.get(f"{_LAYERS}/attn/q_einsum{suffix}/lora_a", ())
    rank = adapter[-1] if adapter else None
    return ExpertShape(width, depth, linear[1], num_heads, kv[2], head_dim, rank)


def _sizes(config: GemmaConfig) -> tuple[int, ...]:
    return tuple(getattr(config, field) for field in _SIZE_FIELDS)
