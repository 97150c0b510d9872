"""Published and tiny model sizes, as data (OPENPI_CONTRACT §2, SPEC §8.1)."""

from recap_core.config.policy import GemmaConfig, LoraConfig, PolicyModelConfig, SiglipConfig
from recap_core.config.value import Gemma3Config, ValueModelConfig

GEMMA_2B = GemmaConfig(
    width=2048, depth=18, mlp_dim=16_384, num_heads=8, num_kv_heads=1, head_dim=256
)
GEMMA_300M = GemmaConfig(
    width=1024, depth=18, mlp_dim=4096, num_heads=8, num_kv_heads=1, head_dim=256
)
GEMMA_2B_LORA = GEMMA_2B.model_copy(update={"lora": LoraConfig(rank=16, alpha=16)})
GEMMA_300M_LORA = GEMMA_300M.model_copy(update={"lora": LoraConfig(rank=32, alpha=32)})
GEMMA_DUMMY = GemmaConfig(width=64, depth=4, mlp_dim=128, num_heads=8, num_kv_heads=1, head_dim=16)
"""openpi's ``dummy``: small experts beside the full SigLIP and the full vocabulary."""
SO400M = SiglipConfig(width=1152, depth=27, mlp_dim=4304, num_heads=16)
GEMMA3_270M = Gemma3Config(
    width=640, depth=18, mlp_dim=2048, num_heads=4, num_kv_heads=1, head_dim=256
)

PI05 = PolicyModelConfig(vlm=GEMMA_2B, expert=GEMMA_300M, siglip=SO400M)
"""pi0.5 and pi0.6 at full size; 203 tokens leave room for the advantage clause."""

PI05_LORA = PI05.model_copy(update={"vlm": GEMMA_2B_LORA, "expert": GEMMA_300M_LORA})
"""The same with both experts adapted by LoRA."""

PI05_LORA_VLM = PI05.model_copy(update={"vlm": GEMMA_2B_LORA})
"""Only the VLM is adapted; the action expert trains in full."""

PI05_LORA_EXPERT = PI05.model_copy(update={"expert": GEMMA_300M_LORA})
"""Only the action expert is adapted; the VLM trains in full."""

PI05_DUMMY = PI05.model_copy(update={"vlm": GEMMA_DUMMY, "expert": GEMMA_DUMMY})
"""openpi's ``dummy`` variant, 429 M parameters."""

_PI0 = {"time_input": "concat", "state_input": "continuous", "max_token_len": 48}
PI0 = PI05.model_copy(update=_PI0)
"""pi0: one token for the state, flow time joined to the actions, short prompts."""

PI0_LORA = PI05_LORA.model_copy(update=_PI0)
"""pi0 with both experts adapted by LoRA."""

VALUE_670M = ValueModelConfig(gemma=GEMMA3_270M, siglip=SO400M)
"""SigLIP-So400m and Gemma3-270M under a 201-bin head."""

_TINY_SIGLIP = SiglipConfig(width=32, depth=2, mlp_dim=64, num_heads=4)

TINY_POLICY = PolicyModelConfig(
    vlm=GemmaConfig(width=32, depth=3, mlp_dim=64, num_heads=4, num_kv_heads=1, head_dim=16),
    expert=GemmaConfig(width=64, depth=3, mlp_dim=192, num_heads=4, num_kv_heads=1, head_dim=16),
    siglip=_TINY_SIGLIP,
    vocab_size=400,
    views=(),
    action_dim=14,
    state_dim=21,
    action_horizon=8,
    max_token_len=12,
    state_input="continuous",
    compute_dtype="float32",
)
"""pi0.5's architecture at about 250k parameters, from state alone: learns the demo on a CPU."""

TINY_VALUE = ValueModelConfig(
    gemma=Gemma3Config(
        width=64, depth=2, mlp_dim=128, num_heads=4, num_kv_heads=1, head_dim=16, global_every=2
    ),
    siglip=_TINY_SIGLIP,
    vocab_size=400,
    views=(),
    head_hidden=64,
    max_token_len=8,
    state_dim=21,
    state_input="continuous",
    compute_dtype="float32",
)
"""The value model's architecture at about 130k parameters, from state alone."""

POLICY_SIZES: dict[str, PolicyModelConfig] = {
    "pi05": PI05,
    "pi05_lora": PI05_LORA,
    "pi05_lora_vlm": PI05_LORA_VLM,
    "pi05_lora_expert": PI05_LORA_EXPERT,
    "pi05_dummy": PI05_DUMMY,
    "pi0": PI0,
    "pi0_lora": PI0_LORA,
    "tiny": TINY_POLICY,
}
"""Every policy size by name. pi0.6 is ``pi05`` with the advantage clause in its prompt."""
