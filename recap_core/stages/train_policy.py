"""Stages 2, 3 and 6: fine-tune a policy."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.environment import weights_dir
from recap_core.config.stages import TrainPolicyConfig
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.errors import IncompatibleError
from recap_core.lineage.artifacts import (
    AnyDataset,
    NormStats,
    PolicyCheckpoint,
)
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.norm_stats import NORM_STATS_FILE, read_statistics
from recap_core.stages.registry import LOAD_NORM_STATS, NORM_STATS, TRAIN_POLICY
from recap_core.stages.training_labels import check_training_labels

if TYPE_CHECKING:
    from recap_core.data.frames import FrameTable
    from recap_core.data.image_feed import ImageSource
    from recap_core.models.parameters import Params
    from recap_core.sharding import Shardings
    from recap_core.training.prefetch import Batches
    from recap_core.training.state import Mask, ParamsSource
    from recap_core.transforms.normalize import NormStats as Statistics

METRICS_FILE = "metrics.jsonl"
_WORK = "training"
_SPACE = ("delta_mask", "normalization", "std_floor", "state_clip")
"""Settings of an embodiment that decide what normalised states and actions are. ``adapt_to_pi`` is
none: the reference trains YAM without it from a base policy whose own Aloha has it (SPEC §7)."""


def train_policy(  # noqa: PLR0913 - the inputs of the stage; the rest by name
    dataset: AnyDataset,
    norm_stats: NormStats,
    start: PolicyCheckpoint | None,
    config: TrainPolicyConfig,
    *,
    name: str,
    store: Store,
    runtime: TrainRuntime | None = None,
    progress: Progress | None = None,
) -> PolicyCheckpoint:
    """Train a policy on ``dataset``, from ``start`` or from fresh parameters.

    A killed run continues from its last checkpoint, bit for bit. Where ``runtime`` names several
    processes, each calls this with the same store; the first one publishes, all return the result.

    Raises:
        IncompatibleError: If ``start`` was trained with other norm stats, or uses them in another
            way, ``norm_stats`` are of actions that are relative in other dims, or labels are of
            another dataset.
        CheckpointError: If ``start`` is another model than ``config.policy``. A full model is a
            start for the same model with adapters.
        ConfigError: If devices or batch cannot be divided as ``runtime`` asks.
        DataError: If a relabelled dataset still holds ``none`` on autonomous frames, or the policy
            is conditioned on labels and there are none.
        TrainingError: If the loss is not finite, or after SIGTERM.
    """
    runs = runtime or TrainRuntime()
    job = _Job(dataset, norm_stats, start, config, runs, store)
    watched = (progress, f"train {name}")

    def build(area: Build) -> Built:
        from recap_core.checkpoints.policy_checkpoint import write_policy
        from recap_core.models.parameters import count_params

        work = area.work / _WORK
        with device_lock(progress):
            final = _trained(job, work, watched)
        write_policy(area.output, final, config.policy, job.statistics)
        shutil.copyfile(work / METRICS_FILE, area.output / METRICS_FILE)
        details = {"num_steps": config.train.num_steps, "num_params": count_params(final)}
        return Built(details, last_metrics(work / METRICS_FILE))

    inputs = {"dataset": dataset, "norm_stats": norm_stats, "start": start}
    if not runs.process_id:
        return store.produce(TRAIN_POLICY, config, inputs, name=name, build=build)
    return store.help_produce(
        TRAIN_POLICY, config, inputs, work=lambda work: _trained(job, work / _WORK, watched)
    )


class _Job(NamedTuple):
    """What a call of the stage is about."""

    dataset: AnyDataset
    norm_stats: NormStats
    start: PolicyCheckpoint | None
    config: TrainPolicyConfig
    runtime: TrainRuntime
    store: Store

    @property
    def statistics(self) -> "Statistics":
        """The norm stats' content."""
        return read_statistics(self.store.path(self.norm_stats) / NORM_STATS_FILE)


def _trained(job: _Job, work: Path, watched: tuple[Progress | None, str]) -> "Params":
    """The trained parameters, on the host of the first process.

    Args:
        job: What to train.
        work: Directory of resumable work.
        watched: Who watches, and the name they see.
    """
    from recap_core.models.layers import LayerLoop
    from recap_core.models.policy import Policy
    from recap_core.sharding import batch_sharding, connect_hosts, gathered
    from recap_core.training.compilation_cache import enable_compilation_cache
    from recap_core.training.flops import policy_flops
    from recap_core.training.loop import train, training_mesh
    from recap_core.training.policy_loss import policy_loss
    from recap_core.training.state import evaluation_params

    config, runtime, model = job.config, job.runtime, job.config.policy.model
    _check_norm_stats(job)
    connect_hosts(runtime.coordinator, runtime.num_processes, runtime.process_id)
    enable_compilation_cache(job.store.home / "cache" / "xla")
    split = batch_sharding(training_mesh(runtime))
    policy = Policy(model, loop=LayerLoop.of_depth(model.vlm.depth, runtime.remat, split=split))
    params, trainable = _first_params(job)
    state = train(
        policy_loss(policy, config.train.loss_weight, augment=config.train.augment),
        params,
        _batches(job, watched[0]),
        config.train,
        runtime,
        work=work,
        trainable=trainable,
        flops_per_sample=policy_flops(model).train,
        progress=watched[0],
        label=watched[1],
    )
    return gathered(evaluation_params(state))


def last_metrics(path: Path) -> dict[str, float]:
    """The metrics at the end of a training run."""
    from recap_core.progress import read_metrics

    rows = read_metrics(path)
    return {key: value for key, value in rows[-1].items() if key != "step"} if rows else {}


def _first_params(job: _Job) -> "tuple[ParamsSource, Mask]":
    """Parameters of the starting policy, or fresh ones; and which of them train.

    What does not train is in bfloat16 from the beginning, as in openpi.
    """
    import jax

    from recap_core.checkpoints.start import start_params
    from recap_core.models.policy import Policy, trainable_mask
    from recap_core.training.state import ParamsSource, fresh_params, with_frozen_in_bfloat16

    model, start = job.config.policy.model, job.start
    init, key = Policy(model).init, jax.random.key(job.config.train.seed)
    full = jax.eval_shape(init, key)
    trainable = trainable_mask(model, full)
    if start is None:
        return fresh_params(lambda: init(key), trainable), trainable
    path = job.store.path(start)
    _check_start(path, start, job)
    shapes = with_frozen_in_bfloat16(full, trainable)

    def make(shardings: "Shardings") -> "Params":
        return start_params(path, model, key, like=shapes, sharding=shardings)

    return ParamsSource(shapes, make), trainable


def _check_start(path: Path, start: PolicyCheckpoint, job: _Job) -> None:
    """Raise IncompatibleError for what the shapes of ``start``'s leaves do not show."""
    from recap_core.checkpoints.policy_checkpoint import (
        asset_ids,
        read_norm_stats,
        read_policy_config,
    )

    before = read_policy_config(path)
    who = f"starting policy {start.name}-{start.id[:8]}"
    for expert in ("vlm", "expert"):
        old, new = (getattr(m, expert).lora for m in (before.model, job.config.policy.model))
        if old is not None and new is not None and old != new:
            raise IncompatibleError(
                f"{who} has {old} on its {expert}, and policy.model.{expert}.lora is {new}: the "
                "same adapters would mean something else. Set it to the start's."
            )
    if job.config.new_norm_stats or not any(asset_ids(path)):
        return
    changed = _changed_spaces(before.embodiment, job.config.policy.embodiment)
    if changed:
        raise IncompatibleError(
            f"{who} has another {' and '.join(changed)}: every state and action it has learned "
            "would mean something else. Set them to the start's, or set new_norm_stats if it was "
            "pretrained on other robots"
        )
    norm_stats = read_norm_stats(path, before.embodiment.asset_id)
    if norm_stats.to_json_dict() != job.statistics.to_json_dict():
        raise IncompatibleError(
            f"{who} was trained with other norm stats than the given ones; pass its own, or set "
            "new_norm_stats if it was pretrained on other robots"
        )


def _check_norm_stats(job: _Job) -> None:
    """Raise IncompatibleError if the norm stats describe other actions than the policy's."""
    stats = job.norm_stats
    made = job.store.manifest(stats)
    if made.stage not in {NORM_STATS.id, LOAD_NORM_STATS.id}:
        return
    theirs = EmbodimentConfig.model_validate(made.config.get("embodiment", {}))
    fields = ("delta_mask", "adapt_to_pi")
    changed = _changed_spaces(theirs, job.config.policy.embodiment, fields)
    if changed:
        raise IncompatibleError(
            f"norm stats {stats.name}-{stats.id[:8]} were made for another embodiment than the "
            f"policy's: {' and '.join(changed)}. Compute them again for this embodiment"
        )


def _changed_spaces(
    before: EmbodimentConfig, now: EmbodimentConfig, fields: tuple[str, ...] = _SPACE
) -> list[str]:
    """Settings of ``fields`` that give states or actions another meaning, with both values."""
    return [
        f"embodiment.{field} ({getattr(before, field)}, not {getattr(now, field)})"
        for field in fields
        if _meaning(before, field) != _meaning(now, field)
    ]


def _meaning(embodiment: EmbodimentConfig, field: str) -> object:
    """A setting such that equal ones compare equal: of the mask, the dims that are relative."""
    from recap_core.transforms.delta import delta_mask

    value = getattr(embodiment, field)
    return delta_mask(value).nonzero()[0].tolist() if field == "delta_mask" else value


def _batches(job: _Job, progress: Progress | None) -> "Batches":
    """This process's rows of the batches."""
    import jax

    from recap_core.data.frames import read_frames
    from recap_core.data.shards import Shard
    from recap_core.models.tokenizer import PromptTokenizer
    from recap_core.training.policy_batches import PolicyBatches
    from recap_core.transforms.policy_transform import PolicyTransform

    table = read_frames(job.store.path(job.dataset))
    policy, statistics = job.config.policy, job.statistics
    reads_labels = job.config.condition is None and policy.prompt.advantage
    check_training_labels(job.dataset, table, reads_labels=reads_labels, store=job.store)
    tokenizer = PromptTokenizer(
        policy.prompt,
        policy.model.max_token_len,
        policy.model.state_input,
        weights_dir=weights_dir(),
    )
    transform = PolicyTransform.for_policy(policy, statistics, tokenizer)
    shard = Shard(jax.process_index(), jax.process_count())
    images = _images(table, job, progress)
    return PolicyBatches(table, transform, job.config, images=images, shard=shard)


def _images(table: "FrameTable", job: _Job, progress: Progress | None) -> "ImageSource | None":
    model, views = job.config.policy.model, job.config.policy.embodiment.views
    if not model.views:
        return None
    return training_images(
        table,
        [views[view] for view in model.views if view in views],
        job.config.train,
        image_px=model.image_px,
        store=job.store,
        runtime=job.runtime,
        progress=progress,
    )


def training_images(  # noqa: PLR0913 - options are keyword-only
    table: "FrameTable",
    cameras: list[str],
    config: TrainConfig,
    *,
    image_px: int,
    store: Store,
    runtime: TrainRuntime,
    progress: Progress | None,
) -> "ImageSource":
    """Camera images for batches; decoded videos are shared by all trainings of the store."""
    from recap_core.data.frame_cache import FrameCache
    from recap_core.data.image_feed import image_source

    limit_gb = runtime.image_cache_gb
    cache = FrameCache(
        store.home / "cache" / "frames",
        digests=store.digests,
        budget_bytes=None if limit_gb is None else int(limit_gb * 1e9),
    )
    return image_source(
        table.meta,
        cameras,
        image_px=image_px,
        cache=cache,
        mode=runtime.images,
        is_in_blocks=config.sampling.order == "blocks",
        progress=progress,
    )
