"""Questions about images: the alignment of a value model, and co-training with them (SPEC §15)."""

from pydantic import Field

from recap_core.config.base import Config
from recap_core.config.policy import LoraConfig
from recap_core.config.training import OptimizerConfig, TrainConfig


class VqaConfig(Config):
    """Questions that a value model answers while it learns values, so that it overfits less."""

    digest: str
    """Of all questions, answers and images."""
    weight: float = Field(default=0.1, gt=0)
    """Of the answers' loss beside the values' loss."""
    batch_size: int = Field(default=8, ge=1)
    """Questions per step, beside the frames."""
    max_token_len: int = Field(default=128, ge=8)
    """Tokens of a conversation; longer ones are cut."""


class AlignValueConfig(Config):
    """The image projection learns to speak the language model's language."""

    digest: str
    """Of all questions, answers and images."""
    tokenizer_digest: str | None = None
    """Of the start's tokenizer, where the start does not name it itself; the result then does."""
    train: TrainConfig = TrainConfig(
        batch_size=8,
        ema_decay=None,
        optimizer=OptimizerConfig(
            peak_lr=2e-5, end_lr=2e-6, warmup_steps=200, weight_decay=0.01, clip_norm=1.0
        ),
    )
    lora: LoraConfig | None = None
    """Also train adapters of the language model; None: the image projection alone."""
    max_token_len: int = Field(default=512, ge=8)
    """Tokens of a conversation; longer ones are cut."""

    def of_length(self, num_steps: int) -> "AlignValueConfig":
        """The same for a number of steps: the rate falls to its end, after at most a tenth."""
        optimizer = self.train.optimizer
        warmup_steps = min(optimizer.warmup_steps, num_steps // 10)
        optimizer = optimizer.model_copy(
            update={"warmup_steps": warmup_steps, "decay_steps": num_steps}
        )
        train = self.train.model_copy(update={"num_steps": num_steps, "optimizer": optimizer})
        return self.model_copy(update={"train": train})
