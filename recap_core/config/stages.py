"""Settings of the stages that combine models, data and training."""

from typing import Any, Literal

from pydantic import Field

from recap_core.config.base import Config
from recap_core.config.gate import GateDecision
from recap_core.config.labels import LabelConfig, TargetConfig
from recap_core.config.policy import PolicyConfig
from recap_core.config.training import TrainConfig, ValidationConfig
from recap_core.config.value import ValueConfig
from recap_core.config.vqa import VqaConfig

type FreezeMode = Literal["none", "siglip_only", "all_backbones"]


class TrainPolicyConfig(Config):
    """Stages 2, 3 and 6: fine-tune a policy."""

    policy: PolicyConfig
    train: TrainConfig = TrainConfig()
    condition: str | None = Field(default=None, pattern="^(positive|negative|none)$")
    """Advantage class of every frame; None: the dataset's ``adv_ind``. SFT uses ``positive``."""
    new_norm_stats: bool = False
    """The start may have been trained under other norm stats: a policy pretrained on other robots.
    Otherwise that is refused, for it shifts every action the policy has learned."""


class HealthConfig(Config):
    """What a value model must show on held-out episodes before it may label (DESIGN §4)."""

    min_spearman: float = Field(default=0.2, ge=-1, le=1)
    """Bar for the lower 95 % bound of the rank correlation between V and its target."""
    min_separation: float = Field(default=0.0, ge=-1, le=1)
    """Bar for the lower 95 % bound of mean V in successes minus mean V in failures."""
    max_bin_share: float = Field(default=0.9, gt=0, le=1)
    """No bin may hold more of the predicted mass than this."""
    max_top_bin_share: float = Field(default=1.0, gt=0, le=1)
    """No bin may be the most likely one of a larger share of the frames; 1: off."""
    max_calibration_error: float = Field(default=1.0, gt=0, le=1)
    """Bar for the expected calibration error, in units of value; 1: off."""
    held_out_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the episodes in each of the validation and the test split."""
    num_bootstrap: int = Field(default=1000, ge=100)


class TrainValueConfig(Config):
    """Stage 4: train the value model."""

    value: ValueConfig
    train: TrainConfig = TrainConfig(batch_size=32)
    targets: TargetConfig = TargetConfig(rule="per_task")
    target_bins: Literal["two_hot", "hard"] = "two_hot"
    """``two_hot`` spreads a target over its two bins; ``hard`` puts all of it into the lower one
    (SPEC §15)."""
    freeze: FreezeMode = "none"
    """What stays as it starts: nothing, SigLIP, or SigLIP and the language model (SPEC §8.4). An
    adapted language model's own weights are frozen in every mode, its adapters in none."""
    validation: ValidationConfig | None = None
    """Measures the model on the validation episodes while it trains, and publishes the best
    parameters; None: never, and the last parameters are published."""
    vqa: VqaConfig | None = None
    """Questions about images that the model answers beside, so that it overfits less; None: none.
    ``TrainRuntime.vqa_file`` and ``vqa_images`` say where they are."""
    health: HealthConfig = HealthConfig()


class InferValuesConfig(Config):
    """Stage 5a: V(o_t) of every frame, under the EMA parameters."""

    use_ema: bool = True
    frames: Literal["all", "rollouts"] = "all"
    """``rollouts`` leaves out demonstrations, whose labels no rule changes; they are needed only
    by a rule whose pool is ``all``."""

    def for_labels(self, label: LabelConfig) -> "InferValuesConfig":
        """These settings, but with values of all frames where the label rule needs them."""
        return self.model_copy(update={"frames": "all"}) if label.pool == "all" else self


class ReportConfig(Config):
    """The report of a bootstrap, an iteration or a demo."""

    title: str = "RECAP iteration"
    num_value_curves: int = Field(default=3, ge=0, le=20)
    decision: GateDecision | None = None
    """What became of the round's policy; None: nothing was decided."""
    settings: dict[str, Any] = {}
    """Settings of the project as in the round's record, for what changed since the round before;
    empty: that is left out."""
