"""Settings of whole flows: what a run form shows and ``recap.yaml`` holds."""

from typing import Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config
from recap_core.config.collection import CollectConfig, CollectRuntime
from recap_core.config.dataset import ConvertConfig, MergeConfig, NormStatsConfig
from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.gate import GateConfig, with_gate
from recap_core.config.inference import InferRuntime
from recap_core.config.labels import LabelConfig
from recap_core.config.offline import CheckPolicyConfig
from recap_core.config.retention import RetentionConfig
from recap_core.config.stages import InferValuesConfig, TrainPolicyConfig, TrainValueConfig
from recap_core.config.training import TrainRuntime


class Runtime(Config):
    """How a flow runs; changes no result."""

    collect: CollectRuntime = CollectRuntime()
    train: TrainRuntime = TrainRuntime()
    infer: InferRuntime = InferRuntime()
    retention: RetentionConfig = RetentionConfig()
    """What garbage collection keeps of the project."""


type Episodes = Literal["simulation", "recordings"]
type Judge = Literal["simulation", "operator"]


class BootstrapConfig(Config):
    """Demonstrations to a first policy: collect, convert, norm stats, SFT (stage 2), evaluate."""

    episodes: Episodes = "simulation"
    """``recordings``: all demonstrations that were ingested for the project, in place of the
    simulator's expert."""
    judge: Judge = "simulation"
    """``operator``: nothing is evaluated in simulation."""
    demonstrations: CollectConfig
    convert: ConvertConfig = ConvertConfig(demonstrations=True)
    norm_stats: NormStatsConfig = NormStatsConfig()
    start: str | None = None
    """Pretrained policy that the SFT starts from: an artifact's id, name or ref, such as
    ``pretrained/pi05/base`` after ``recap import-policy``; None: fresh parameters."""
    sft: TrainPolicyConfig
    evaluation: EvaluationConfig = EvaluationConfig()


class IterationConfig(Config):
    """One round: collect, convert, merge, value model, labels, relabel, fine-tune, evaluate."""

    episodes: Episodes = "simulation"
    """``recordings``: what robots recorded and no finished round has used, in place of the
    simulator's rollouts."""
    inbox: str | None = Field(default=None, min_length=1)
    """Directory that robots copy finished sessions into, one directory per session; None: there is
    none."""
    judge: Judge = "simulation"
    """``operator``: no policy is evaluated in simulation; a round ends with a ``candidate`` that
    an operator tries on the robot and promotes."""
    collect: CollectConfig
    convert: ConvertConfig = ConvertConfig()
    merge: MergeConfig = MergeConfig()
    value: TrainValueConfig
    value_start: str | None = None
    """Value model that every round's training starts from, not the last round's: an artifact's id,
    name or ref, such as ``pretrained/value/base``; None: fresh parameters."""
    infer: InferValuesConfig = InferValuesConfig()
    label: LabelConfig = LabelConfig()
    finetune: TrainPolicyConfig
    stage3: TrainPolicyConfig
    """Fine-tune on the collector's own labels: the fallback of an unhealthy value model."""
    evaluation: EvaluationConfig = EvaluationConfig()
    control: TrainPolicyConfig | None = None
    """The starting policy trained for the same extra steps on demonstrations only."""
    on_unhealthy_value_model: Literal["stage3", "stop"] = "stage3"
    offline: Literal["operator", "always", "never"] = "operator"
    """When a new policy is checked without a robot: where an operator judges, always, or never."""
    check: CheckPolicyConfig = CheckPolicyConfig()
    gate: GateConfig = GateConfig()
    """When the new policy becomes ``current``."""
    wait_for_approval: bool = False
    """Suspend the run of a deployment until a person approves or rejects a ``candidate``; a run in
    the foreground never waits."""

    @model_validator(mode="before")
    @classmethod
    def _from_promote(cls, data: object) -> object:
        """Settings that are stored may still say ``promote``."""
        return with_gate(data)

    @property
    def checks_offline(self) -> bool:
        """Whether a new policy is checked without a robot."""
        return self.offline == "always" or (self.offline == self.judge == "operator")


class ProjectConfig(Config):
    """A project: where its references live, and the settings of its flows (``recap.yaml``)."""

    project: str = Field(default="demo", pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    robot: str = Field(default="sim-aloha", pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    iteration: IterationConfig
    bootstrap: BootstrapConfig
    runtime: Runtime = Runtime()
