"""AdamW behind a global clip, under openpi's schedule."""

import optax

from recap_core.config.training import OptimizerConfig


def learning_rate(config: OptimizerConfig) -> optax.Schedule:
    """Learning rate of every step.

    Linear from ``peak / (warmup + 1)`` at step 0 to ``peak_lr`` at ``warmup_steps``, a half cosine
    to ``end_lr`` at ``decay_steps`` (which includes the warm-up), constant from there.
    """
    cosine = optax.cosine_decay_schedule(
        config.peak_lr,
        decay_steps=config.decay_steps - config.warmup_steps,
        alpha=config.end_lr / config.peak_lr,
    )
    if config.warmup_steps == 0:
        return cosine
    first = config.peak_lr / (config.warmup_steps + 1)
    warm_up = optax.linear_schedule(first, config.peak_lr, config.warmup_steps)
    return optax.join_schedules([warm_up, cosine], [config.warmup_steps])


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Clip by global norm, then AdamW with weight decay on every leaf."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate(config),
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
        ),
    )
