"""Stages 2, 3 and 6: fine-tune a policy."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from recap_core.config.environment import weights_dir
from recap_core.config.stages import TrainPolicyConfig
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.errors import DataError, IncompatibleError
from recap_core.lineage.artifacts import (
    AnyDataset,
    NormStats,
    PolicyCheckpoint,
    RelabeledDataset,
)
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.norm_stats import NORM_STATS_FILE, read_statistics
from recap_core.stages.registry import TRAIN_POLICY

if TYPE_CHECKING:
    from recap_core.data.frames import FrameTable
    from recap_core.data.image_feed import ImageSource
    from recap_core.models.parameters import Params
    from recap_core.training.prefetch import Batches
    from recap_core.transforms.normalize import NormStats as Statistics

METRICS_FILE = "metrics.jsonl"


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

    A killed run continues from its last checkpoint, bit for bit.

    Raises:
        IncompatibleError: If ``start`` is another model than ``config.policy``, or was trained
            with other norm stats.
        DataError: If a relabelled dataset still holds ``none`` on autonomous frames.
        TrainingError: If the loss is not finite.
    """

    def build(area: Build) -> Built:
        from recap_core.checkpoints.policy_checkpoint import write_policy
        from recap_core.data.frames import read_frames
        from recap_core.models.parameters import count_params
        from recap_core.models.policy import Policy, trainable_mask
        from recap_core.training.compilation_cache import enable_compilation_cache
        from recap_core.training.loop import train
        from recap_core.training.policy_loss import policy_loss
        from recap_core.training.state import evaluation_params

        enable_compilation_cache(store.home / "cache" / "xla")
        table = read_frames(store.path(dataset))
        if isinstance(dataset, RelabeledDataset):
            _check_relabeled(table, dataset)
        statistics = read_statistics(store.path(norm_stats) / NORM_STATS_FILE)
        params = _first_params(start, config, statistics, store)
        model = Policy(config.policy.model)
        images = _images(table, config, store, runtime, progress)
        work = area.work / "training"
        state = train(
            policy_loss(model, config.train.loss_weight, augment=config.train.augment),
            params,
            _batches(table, statistics, config, images),
            config.train,
            runtime or TrainRuntime(),
            work=work,
            trainable=trainable_mask(config.policy.model, params),
            progress=progress,
            label=f"train {name}",
        )
        final = evaluation_params(state)
        write_policy(area.output, final, config.policy, statistics)
        shutil.copyfile(work / METRICS_FILE, area.output / METRICS_FILE)
        details = {"num_steps": config.train.num_steps, "num_params": count_params(final)}
        return Built(details, last_metrics(work / METRICS_FILE))

    inputs = {"dataset": dataset, "norm_stats": norm_stats, "start": start}
    return store.produce(TRAIN_POLICY, config, inputs, name=name, build=build)


def last_metrics(path: Path) -> dict[str, float]:
    """The metrics at the end of a training run."""
    from recap_core.progress import read_metrics

    rows = read_metrics(path)
    return {key: value for key, value in rows[-1].items() if key != "step"} if rows else {}


def _check_relabeled(table: "FrameTable", dataset: RelabeledDataset) -> None:
    """Raise DataError if stage 5 left autonomous frames without a label (SPEC §10)."""
    is_autonomous = ~(table.is_intervention | table.is_paused)
    num_none = int((is_autonomous & (table.column("adv_ind") == "none")).sum())
    if num_none:
        raise DataError(
            f"relabelled dataset {dataset.name}-{dataset.id[:8]} holds {num_none} autonomous "
            "frames labelled 'none'; label it again"
        )


def _first_params(
    start: PolicyCheckpoint | None,
    config: TrainPolicyConfig,
    statistics: "Statistics",
    store: Store,
) -> "Params":
    """Parameters of ``start``, or fresh ones."""
    import jax

    from recap_core.checkpoints.params import load_params
    from recap_core.checkpoints.policy_checkpoint import read_policy
    from recap_core.models.policy import Policy

    init = Policy(config.policy.model).init
    key = jax.random.key(config.train.seed)
    if start is None:
        return init(key)
    files = read_policy(store.path(start))
    who = f"starting policy {start.name}-{start.id[:8]}"
    if files.config.model != config.policy.model:
        raise IncompatibleError(
            f"{who} has another architecture than the configured one; "
            "set policy.model to the model it was trained with"
        )
    if files.norm_stats.to_json_dict() != statistics.to_json_dict():
        raise IncompatibleError(
            f"{who} was trained with other norm stats than the given ones; pass its own"
        )
    return load_params(files.params, jax.eval_shape(init, key))


def _batches(
    table: "FrameTable",
    statistics: "Statistics",
    config: TrainPolicyConfig,
    images: "ImageSource | None",
) -> "Batches":
    """Batches of ``table``."""
    from recap_core.models.tokenizer import PromptTokenizer
    from recap_core.training.policy_batches import PolicyBatches
    from recap_core.transforms.policy_transform import PolicyTransform

    policy = config.policy
    tokenizer = PromptTokenizer(
        policy.prompt,
        policy.model.max_token_len,
        policy.model.state_input,
        weights_dir=weights_dir(),
    )
    transform = PolicyTransform.for_policy(policy, statistics, tokenizer)
    return PolicyBatches(table, transform, config, images=images)


def _images(
    table: "FrameTable",
    config: TrainPolicyConfig,
    store: Store,
    runtime: TrainRuntime | None,
    progress: Progress | None,
) -> "ImageSource | None":
    model, views = config.policy.model, config.policy.embodiment.views
    if not model.views:
        return None
    return training_images(
        table,
        [views[view] for view in model.views],
        config.train,
        image_px=model.image_px,
        store=store,
        runtime=runtime or TrainRuntime(),
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
