"""One training of a policy with everything around it: where it starts and what it learns from."""

from typing import Any, Literal

from pydantic import Field, JsonValue

from recap_core.config.base import Config
from recap_core.config.stages import TrainPolicyConfig
from recap_core.config.training import TrainRuntime

type SetupStage = Literal["sft", "stage3", "stage6", "serve"]
type Start = Literal["pi0_base", "pi05_base", "pi05_droid", "sft"]


class PolicySetup(Config):
    """A named training, or a published policy that is only served."""

    name: str
    stage: SetupStage
    """``sft``: plain fine-tuning. ``stage3``: on the collector's labels. ``stage6``: on the value
    model's labels. ``serve``: a published policy; ``train`` then only describes it."""
    train: TrainPolicyConfig
    start: Start | None = None
    """Parameters to start from: a published checkpoint, or this project's own SFT checkpoint."""
    dataset: str | None = None
    """Repository id of the training data; None: to be named by the user."""
    norm_stats_of: Start | None = None
    """Published checkpoint whose norm stats (``assets/<asset_id>``) openpi uses; None: computed
    from the dataset."""
    published: str | None = None
    """Where the checkpoint of this very name can be had."""
    num_workers: int = Field(default=2, ge=0)
    """Loader processes of the reference; ours decodes in threads and needs none."""
    keep_period: int | None = Field(default=5000, ge=1)
    """Checkpoints of steps divisible by this are kept for good."""
    runtime: TrainRuntime = TrainRuntime(log_interval=100, save_interval=1000)
    project: Literal["openpi", "pistar"] = "openpi"
    """Project name in experiment trackers."""
    metadata: dict[str, JsonValue] = Field(default={})
    """What a policy server tells its clients at the handshake."""

    @property
    def asset_id(self) -> str:
        """Directory of the norm stats inside a checkpoint's ``assets/``."""
        return self.train.policy.embodiment.asset_id

    @property
    def model_name(self) -> str:
        """Generation of the policy, and whether it is trained by LoRA."""
        policy = self.train.policy
        family = "pi0" if policy.model.time_input == "concat" else "pi0.5"
        if policy.prompt.advantage:
            family = "pi0.6"
        is_lora = policy.model.vlm.lora is not None or policy.model.expert.lora is not None
        return f"{family} LoRA" if is_lora else family

    def project_settings(self) -> dict[str, Any]:
        """The part of a project's settings (``recap.yaml``) that the setup decides.

        Complete, so that nothing of what it is laid over shows through. A policy that is only
        served is no part of a project: its ``policy`` is returned.
        """
        train = self.train.model_dump(mode="json")
        if self.stage == "serve":
            return {"policy": train["policy"]}
        norm_stats = {
            "embodiment": train["policy"]["embodiment"],
            "action_horizon": self.train.policy.model.action_horizon,
        }
        settings: dict[str, Any] = {"bootstrap": {"norm_stats": norm_stats}}
        if self.stage == "sft":
            # The bootstrap computes them from its demonstrations, whatever a base policy has.
            settings["bootstrap"]["sft"] = train | {"new_norm_stats": True}
        else:
            settings["iteration"] = {"stage3" if self.stage == "stage3" else "finetune": train}
        return settings | {"runtime": {"train": self.runtime.model_dump(mode="json")}}
