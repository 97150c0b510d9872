"""Settings refuse what they do not know, and name themselves by what differs from defaults."""

import pytest
from pydantic import ValidationError

from recap_core.config import presets
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.flows import ProjectConfig
from recap_core.config.labels import LabelConfig, TargetConfig
from recap_core.config.policy import PolicyModelConfig
from recap_core.config.sizes import PI05, TINY_POLICY
from recap_core.config.training import OptimizerConfig, TrainConfig
from recap_core.config.value import ValueModelConfig


def test_an_unknown_key_is_refused() -> None:
    """A misspelt setting never falls back to a default."""
    with pytest.raises(ValidationError, match="lookahed"):
        LabelConfig.model_validate({"lookahed": 10})


def test_a_value_out_of_range_is_refused() -> None:
    """Ranges are part of the type."""
    with pytest.raises(ValidationError, match="positive_share"):
        LabelConfig.model_validate({"positive_share": 1.5})


def test_not_a_number_is_refused() -> None:
    """NaN compares equal to nothing, so it may not enter a stage key."""
    with pytest.raises(ValidationError, match="finite"):
        TrainConfig.model_validate({"ema_decay": float("nan")})


def test_settings_are_frozen() -> None:
    """Nothing can change a config after its key was computed."""
    with pytest.raises(ValidationError, match="frozen"):
        LabelConfig().lookahead = 3  # pyright: ignore[reportAttributeAccessIssue] - the promise


def test_only_what_differs_from_the_defaults_is_semantic() -> None:
    """A field that equals its default is left out, also when it was given."""
    assert LabelConfig(lookahead=50, positive_share=0.1).semantic() == {"positive_share": 0.1}


def test_a_config_survives_json() -> None:
    """What a manifest stores is the config."""
    project = presets.tiny_project(seed=3)

    assert ProjectConfig.model_validate_json(project.model_dump_json()) == project


def test_the_semantic_part_restores_the_config() -> None:
    """Leaving defaults out loses nothing."""
    project = presets.plumbing_project(seed=3, cameras=False)

    assert ProjectConfig.model_validate(project.semantic()) == project


@pytest.mark.parametrize("preset", ["tiny", "single_gpu", "paper"])
def test_every_size_preset_is_valid(preset: presets.SizePreset) -> None:
    """Presets are built with ``model_copy``, which does not validate: do it here."""
    policy, value = presets.policy_config(preset), presets.value_config(preset)

    assert type(policy).model_validate(policy.model_dump()) == policy
    assert type(value).model_validate(value.model_dump()) == value


def test_policy_experts_must_share_their_attention_shape() -> None:
    """Two experts attend jointly, so their heads must match."""
    narrow = TINY_POLICY.expert.model_copy(update={"num_heads": 2})
    with pytest.raises(ValidationError, match=r"vlm.num_heads is 4 and expert.num_heads is 2"):
        PolicyModelConfig.model_validate(TINY_POLICY.model_dump() | {"expert": narrow.model_dump()})


def test_delta_actions_need_the_joint_state_first() -> None:
    """Joints are made relative to ``observation.state``."""
    with pytest.raises(ValidationError, match=r"delta_mask needs observation.state"):
        EmbodimentConfig(state=("observation.environment_state",), delta_mask=(6, -1))


def test_a_frame_limit_belongs_to_the_fixed_limit_rule() -> None:
    """Neither half of the pair makes sense alone."""
    with pytest.raises(ValidationError, match="limit_frames"):
        TargetConfig(rule="fixed_limit")
    with pytest.raises(ValidationError, match="limit_frames"):
        TargetConfig(rule="reference", limit_frames=40)


def test_warm_up_ends_before_the_decay() -> None:
    """A schedule that never decays is a mistake."""
    with pytest.raises(ValidationError, match="warmup_steps"):
        OptimizerConfig(warmup_steps=100, decay_steps=100)


def test_only_a_cross_attention_can_read_masked_views() -> None:
    """The reference's quirk belongs to the reference's fusion."""
    tiny = presets.value_config("tiny").model.model_dump()
    quirk = {"cross_attention_reads_masked_views": True}
    assert ValueModelConfig.model_validate(tiny | quirk).fusion == "cross_attention"
    with pytest.raises(ValidationError, match="no cross-attention"):
        ValueModelConfig.model_validate(tiny | quirk | {"fusion": "stitched"})


def test_cross_attention_heads_divide_the_width() -> None:
    """Where there is a cross-attention; a blind or stitched model has no such heads."""
    tiny = presets.value_config("tiny").model.model_dump() | {"cross_attention_heads": 7}
    seeing = tiny | {"views": ["base_0_rgb"]}
    ValueModelConfig.model_validate(tiny)
    ValueModelConfig.model_validate(seeing | {"fusion": "stitched"})
    with pytest.raises(ValidationError, match="64 is no multiple of cross_attention_heads 7"):
        ValueModelConfig.model_validate(seeing)


def test_published_sizes_are_the_published_ones() -> None:
    """OPENPI_CONTRACT §2: width, mlp, heads and depth of gemma_2b and gemma_300m."""
    assert (PI05.vlm.width, PI05.vlm.mlp_dim, PI05.vlm.depth) == (2048, 16_384, 18)
    assert (PI05.expert.width, PI05.expert.mlp_dim, PI05.max_token_len) == (1024, 4096, 203)
