"""Offline checks: what a new policy does on held-out frames, where no robot can be asked.

The policy is run as it is served: prompt conditioned on ``positive``, denoised in full, its actions
in the robot's units. A training loss would be cheaper, but of another thing: it says nothing of the
range of actions, of jumps, or of a broken export, and losses of different models cannot be
compared.
"""

from typing import TYPE_CHECKING, NamedTuple

from recap_core.config.environment import weights_dir
from recap_core.config.inference import InferRuntime
from recap_core.config.offline import CheckPolicyConfig
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.errors import DataError, IncompatibleError
from recap_core.lineage.artifacts import AnyDataset, Artifact, OfflineCheck, PolicyCheckpoint
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress, Silent
from recap_core.stages.registry import CHECK_POLICY

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

    from recap_core.data.frames import FrameTable
    from recap_core.evaluation.offline import Asked, Measured, OfflineSummary, Recorded
    from recap_core.serving.policy import LoadedPolicy

OFFLINE_FILE = "offline.json"
BATCH_SIZE = 32


def check_policy(  # noqa: PLR0913 - the inputs of the stage; the rest by name
    dataset: AnyDataset,
    policy: PolicyCheckpoint,
    current: PolicyCheckpoint | None,
    config: CheckPolicyConfig,
    *,
    name: str,
    store: Store,
    runtime: InferRuntime | None = None,
    progress: Progress | None = None,
) -> OfflineCheck:
    """Ask a policy for actions on held-out frames, and the current one too.

    Args:
        dataset: Recorded frames with labels; the newest ones tell most.
        policy: The new policy.
        current: The policy in use; None: there is none to compare with.
        config: Which frames, and what is worth a warning.
        name: Name of the artifact.
        store: Where all of it is.
        runtime: Its batch size; None: 32.
        progress: Who watches.

    Raises:
        DataError: If no held-out episode is longer than ``execute_frames``.
        IncompatibleError: If a policy has another action than the dataset.
    """
    job = _Job(dataset, policy, current, config, store, runtime or InferRuntime())

    def build(area: Build) -> Built:
        summary, num_frames = _checked(job, progress or Silent())
        path = area.output / OFFLINE_FILE
        path.write_text(summary.model_dump_json(indent=1) + "\n", encoding="utf-8")
        details = {
            "num_episodes": summary.num_episodes,
            "num_frames": num_frames,
            "seen_in_training": summary.num_episodes_seen > 0,
            "failed": summary.failed,
            "warnings": summary.warnings,
        }
        return Built(details, _metrics(summary))

    inputs = {"dataset": dataset, "policy": policy, "current": current}
    return store.produce(CHECK_POLICY, config, inputs, name=name, build=build)


def read_offline_check(check: OfflineCheck, store: Store) -> "OfflineSummary":
    """Everything that was found."""
    from recap_core.evaluation.offline import OfflineSummary

    text = (store.path(check) / OFFLINE_FILE).read_text(encoding="utf-8")
    return OfflineSummary.model_validate_json(text)


class _Job(NamedTuple):
    dataset: AnyDataset
    policy: PolicyCheckpoint
    current: PolicyCheckpoint | None
    config: CheckPolicyConfig
    store: Store
    runtime: InferRuntime


def _checked(job: _Job, progress: Progress) -> "tuple[OfflineSummary, int]":
    import numpy as np

    from recap_core.data.frames import read_frames
    from recap_core.evaluation.offline import choose_frames

    table = read_frames(job.store.path(job.dataset))
    held_out = _held_out(table, job.config)
    usable = np.isin(table.episode_index, held_out) & ~table.is_paused
    first = _Model.load(job, job.policy)
    recorded = _recorded(table, first.action)
    asked = choose_frames(
        recorded,
        usable,
        most_per_class=job.config.max_frames_per_class,
        num_steps=min(job.config.execute_frames, first.policy.config.model.action_horizon),
    )
    if not len(asked.first):
        raise DataError(
            f"no held-out episode of {_label(job.dataset)} is longer than execute_frames "
            f"({job.config.execute_frames}); {len(held_out)} episodes are held out. Use a larger "
            "dataset, or raise held_out_share."
        )
    data = (table, recorded, asked)
    new = _measured(job, first, data, progress)
    del first  # its parameters make room for the other one's
    now: Measured | None = None
    if job.current is not None:
        now = _measured(job, _Model.load(job, job.current), data, progress)
    return _summary(job, data, new, now), len(asked.frames)


def _summary(
    job: _Job, data: "tuple[FrameTable, Recorded, Asked]", new: "Measured", now: "Measured | None"
) -> "OfflineSummary":
    import numpy as np

    from recap_core.evaluation.offline import CLASSES, ClassError, OfflineSummary, find_faults

    table, recorded, asked = data
    faults = find_faults(new, now, len(asked.frames), job.config)
    counts = np.bincount(recorded.frame_class[asked.first], minlength=len(CLASSES))
    errors = tuple(
        ClassError(
            frame_class=name,
            num_frames=int(counts[index]),
            error=new.errors.get(name),
            current_error=now.errors.get(name) if now else None,
        )
        for index, name in enumerate(CLASSES)
        if counts[index]
    )
    used = np.unique(table.episode_index[asked.first])
    current = job.current
    return OfflineSummary(
        policy=_label(job.policy),
        current=_label(current) if current else None,
        dataset=_label(job.dataset),
        num_episodes=len(used),
        num_episodes_seen=_num_seen(job, job.policy, table, used),
        num_episodes_seen_by_current=_num_seen(job, current, table, used) if current else None,
        errors=errors,
        num_not_finite=new.num_not_finite,
        outside_share=new.outside_share,
        outside_dims=new.outside_dims,
        jump_ratio=new.jump_ratio,
        current_outside_share=now.outside_share if now else None,
        current_jump_ratio=now.jump_ratio if now else None,
        failed=faults.failed,
        warnings=faults.warnings,
    )


def _held_out(table: "FrameTable", config: CheckPolicyConfig) -> "Int[np.ndarray, ' e']":
    """The validation and test episodes; all of a dataset that is too small to divide."""
    import numpy as np

    from recap_core.data.batches import split_episodes

    share = config.held_out_share
    split = split_episodes(
        len(table.episode_lengths), ratios=(1 - 2 * share, share, share), originals=table.originals
    )
    return np.concatenate([split.validation, split.test])


class _Model(NamedTuple):
    """A policy that answers, and what it reads of a dataset."""

    policy: "LoadedPolicy"
    cameras: tuple[str, ...]
    action: str
    who: str

    @classmethod
    def load(cls, job: _Job, policy: PolicyCheckpoint) -> "_Model":
        from recap_core.serving.policy import LoadedPolicy
        from recap_core.training.compilation_cache import enable_compilation_cache

        enable_compilation_cache(job.store.home / "cache" / "xla")
        loaded = LoadedPolicy.load(
            job.store.path(policy),
            batch_size=job.runtime.batch_size or BATCH_SIZE,
            weights_dir=weights_dir(),
        )
        embodiment, model = loaded.config.embodiment, loaded.config.model
        cameras = tuple(embodiment.views[v] for v in model.views if v in embodiment.views)
        return cls(loaded, cameras, embodiment.action, _label(policy))


def _recorded(table: "FrameTable", action: str) -> "Recorded":
    import numpy as np

    from recap_core.data.columns import ADV_IND
    from recap_core.evaluation.offline import CLASSES, Recorded

    labels = table.column(ADV_IND)
    classes = np.full(table.num_frames, CLASSES.index("none"), np.int64)
    for name in ("positive", "negative"):
        classes[labels == name] = CLASSES.index(name)
    classes[table.is_intervention] = CLASSES.index("intervention")
    classes[table.is_demonstration] = CLASSES.index("demonstration")
    actions = table.column(action).reshape(table.num_frames, -1).astype(np.float64)
    return Recorded(actions, table.episode_ends, classes)


def _measured(
    job: _Job, model: _Model, data: "tuple[FrameTable, Recorded, Asked]", progress: Progress
) -> "Measured":
    from recap_core.evaluation.offline import measure

    table, recorded, asked = data
    if model.policy.action_dim != recorded.actions.shape[1]:
        raise IncompatibleError(
            f"policy {model.who} has actions of {model.policy.action_dim} numbers, dataset "
            f"{_label(job.dataset)} has {recorded.actions.shape[1]} in {model.action!r}. Check it "
            "on a dataset of its own robot."
        )
    chunks = _chunks(job, model, table, asked.frames, progress)
    return measure(recorded, asked, chunks, job.config)


def _chunks(
    job: _Job,
    model: _Model,
    table: "FrameTable",
    frames: "Int[np.ndarray, ' q']",
    progress: Progress,
) -> "Float[np.ndarray, 'q h d']":
    """What the policy would do at every frame; its noise depends on episode and frame alone."""
    import numpy as np

    from recap_core.data.batches import FramesInOrder
    from recap_core.stages.train_policy import training_images
    from recap_core.training.observations import FrameObservations

    batch_size = job.runtime.batch_size or BATCH_SIZE
    order = FramesInOrder(frames, batch_size=batch_size)
    observations = FrameObservations(table, model.policy.config.embodiment.state)
    feed = None
    if model.cameras:
        # Decoded as they are needed: a few hundred frames are no reason to keep whole videos.
        source = training_images(
            table,
            list(model.cameras),
            TrainConfig(),
            image_px=model.policy.config.model.image_px,
            store=job.store,
            runtime=TrainRuntime(images="decode"),
            progress=progress,
        )
        feed = source.feed(order, slice(0, batch_size))
    answers: list[np.ndarray] = []
    with progress.bar(f"check {model.who}", total=len(frames)) as bar:
        for step in range(order.num_batches):
            rows = order.indices(step)
            arrays = observations.at(rows) | (feed(step) if feed else {})
            prompts, places = observations.prompts(rows), table.places(rows)
            num_own = min(batch_size, len(frames) - step * batch_size)
            asked = [
                {
                    **{feature: array[i] for feature, array in arrays.items()},
                    "prompt": prompts[i],
                    "episode_seed": int(places[i, 0]),
                    "frame_index": int(places[i, 1]),
                }
                for i in range(num_own)
            ]
            answers.extend(np.asarray(chunk) for chunk in model.policy.infer(asked))
            bar.update(len(answers), "")
    return np.stack(answers).astype(np.float64)


def _num_seen(
    job: _Job, policy: PolicyCheckpoint, table: "FrameTable", episodes: "Int[np.ndarray, ' e']"
) -> int:
    """How many of the episodes the policy, or one that it started from, was trained on.

    Training draws from every episode of its dataset. An episode that does not say which raw
    episode it is counts as seen.
    """
    from recap_core.data.frames import read_frames

    seen: set[tuple[str, str]] = set()
    for dataset in _trained_on(policy, job.store):
        seen.update(_raw_episodes(read_frames(job.store.path(dataset))))
    names = _raw_episodes(table)
    return sum(not names[episode][1] or names[episode] in seen for episode in episodes)


def _trained_on(policy: PolicyCheckpoint, store: Store) -> list[AnyDataset]:
    """Datasets that the policy and those that it started from learned from."""
    found: list[AnyDataset] = []
    todo: list[Artifact] = [policy]
    while todo:
        for parent in store.manifest(todo.pop()).parents:
            artifact = store.get(parent.id)
            if isinstance(artifact, AnyDataset):
                found.append(artifact)
            elif isinstance(artifact, PolicyCheckpoint):
                todo.append(artifact)
    return found


def _raw_episodes(table: "FrameTable") -> list[tuple[str, str]]:
    """Source, and raw episode within it, of every episode; empty text where it is not known."""
    if "raw_episode" not in table.meta.episodes.column_names:
        return [(source, "") for source in table.sources]
    names = table.meta.episodes.column("raw_episode").to_pylist()
    return [(source, name or "") for source, name in zip(table.sources, names, strict=True)]


def _metrics(summary: "OfflineSummary") -> dict[str, float]:
    metrics = {"outside_share": summary.outside_share, "jump_ratio": summary.jump_ratio}
    for error in summary.errors:
        if error.error is not None:
            metrics[f"error_{error.frame_class}"] = error.error
        if error.current_error is not None:
            metrics[f"current_error_{error.frame_class}"] = error.current_error
    return metrics


def _label(artifact: Artifact) -> str:
    return f"{artifact.name}-{artifact.id[:8]}"
