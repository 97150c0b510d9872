"""Which model a tree belongs to, and what a mismatch says."""

import jax
import pytest

from recap_core.checkpoints.architecture import explain_mismatch, read_architecture
from recap_core.config.policy import PolicyModelConfig
from recap_core.config.sizes import GEMMA_2B, PI05, PI05_LORA, TINY_POLICY
from recap_core.models.policy import Policy

PI0 = PI05.model_copy(update={"time_input": "concat", "state_input": "continuous"})
SMALL_WRIST = PI05.model_copy(update={"expert": GEMMA_2B})


def _shapes(model: PolicyModelConfig) -> dict[str, object]:
    return jax.eval_shape(Policy(model).init, jax.random.key(0))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (PI05, "pi0.5 of gemma_2b and gemma_300m, action_dim 32, vocabulary 257152"),
        (PI0, "pi0 of gemma_2b and gemma_300m, action_dim 32, vocabulary 257152"),
        (
            PI05_LORA,
            (
                "pi0.5 of gemma_2b with LoRA rank 16 and gemma_300m with LoRA rank 32, "
                "action_dim 32, vocabulary 257152"
            ),
        ),
        (
            TINY_POLICY,
            "pi0.5 of the tiny VLM and the tiny expert, action_dim 14, vocabulary 400, no cameras",
        ),
    ],
)
def test_sizes_are_recognised(model: PolicyModelConfig, text: str) -> None:
    """From shapes alone, whatever the configuration was called."""
    assert read_architecture(_shapes(model)).describe() == text


@pytest.mark.parametrize(
    ("config", "checkpoint", "parts"),
    [
        (
            PI05,
            PI05_LORA,
            (
                "20 extra (",
                (
                    "The checkpoint has LoRA adapters (rank 16 on the vlm, rank 32 on the expert); "
                    "the configuration has none."
                ),
                "--merge-lora",
            ),
        ),
        (
            PI05_LORA,
            PI05,
            (
                "20 missing (",
                (
                    "The configuration has LoRA adapters (rank 16 on the vlm, rank 32 on the "
                    "expert); the checkpoint has none."
                ),
                "a LoRA training may start from this checkpoint",
            ),
        ),
        (
            PI05,
            SMALL_WRIST,
            (
                "The checkpoint is pi0.5 of gemma_2b and gemma_2b,",
                "the configuration is pi0.5 of gemma_2b and gemma_300m,",
            ),
        ),
        (PI05, PI0, ("The checkpoint is pi0 of", "the configuration is pi0.5 of")),
    ],
)
def test_a_mismatch_names_both_models(
    config: PolicyModelConfig, checkpoint: PolicyModelConfig, parts: tuple[str, ...]
) -> None:
    """And what to do; full size, without an array."""
    text = explain_mismatch(_shapes(config), _shapes(checkpoint))

    for part in parts:
        assert part in text


def test_a_tree_that_is_no_policy_is_only_compared() -> None:
    """Paths and counts remain."""
    text = explain_mismatch({"a": jax.ShapeDtypeStruct((2,), "float32")}, {})

    assert text.startswith("1 missing (a); 0 leaves match.")
