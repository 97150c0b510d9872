"""Which episodes a value model was trained on, wherever they are met again."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from recap_core.config.stages import HealthConfig, TrainValueConfig
from recap_core.errors import DataError
from recap_core.lineage.artifacts import AnyDataset, DatasetCopy, RelabeledDataset, ValueCheckpoint
from recap_core.lineage.store import Store
from recap_core.stages.registry import TRAIN_VALUE

if TYPE_CHECKING:
    from recap_core.data.annotations import EpisodeKey
    from recap_core.data.frames import FrameTable
    from recap_core.reports.content import Role


def training_dataset(store: Store, value_model: ValueCheckpoint) -> AnyDataset:
    """The dataset that a value model was trained on.

    Raises:
        DataError: If it was not trained here.
        ArtifactNotFoundError: If the dataset was removed.
    """
    parents = {parent.role: parent.id for parent in store.manifest(value_model).parents}
    dataset = store.get(parents["dataset"]) if "dataset" in parents else None
    if not isinstance(dataset, AnyDataset):
        raise DataError(
            f"value model {value_model.name}-{value_model.id[:8]} was not trained on a dataset of "
            "this store. Name the dataset to evaluate it on."
        )
    return dataset


def health_settings(store: Store, value_model: ValueCheckpoint) -> HealthConfig:
    """The bars that a value model was trained under; the defaults for one from elsewhere."""
    manifest = store.manifest(value_model)
    if manifest.stage != TRAIN_VALUE.id:
        return HealthConfig()
    return TrainValueConfig.model_validate(manifest.config).health


def judged_roles(store: Store, value_model: ValueCheckpoint) -> frozenset["Role"]:
    """Roles of the episodes that a value model may be judged on.

    Where validation episodes chose among its checkpoints, they are not unseen any more.
    """
    is_selected = store.manifest(value_model).config.get("validation") is not None
    return frozenset({"test", "unseen"} if is_selected else {"validation", "test", "unseen"})


def episode_roles(
    store: Store, value_model: ValueCheckpoint, dataset: AnyDataset, table: "FrameTable"
) -> tuple["Role", ...]:
    """What every episode of ``dataset`` was to the training of ``value_model``.

    Episodes are recognised by the raw episode that they come from, also after merging and
    relabelling. What the model that training started from was trained on counts as trained on.

    Args:
        store: Where the value model and its ancestors are.
        value_model: The model.
        dataset: Any dataset.
        table: Its frames.
    """
    known = _known_roles(store, value_model)
    return tuple(known.get(key, "unseen") for key in episode_keys(store, dataset, table))


def _known_roles(store: Store, value_model: ValueCheckpoint) -> "dict[EpisodeKey, Role]":
    from recap_core.data.batches import split_episodes
    from recap_core.data.frames import read_frames

    manifest = store.manifest(value_model)
    parents = {parent.role: parent.id for parent in manifest.parents}
    known: dict[EpisodeKey, Role] = {}
    if manifest.stage == TRAIN_VALUE.id and "dataset" in parents:
        dataset = training_dataset(store, value_model)
        table = read_frames(store.path(dataset))
        share = health_settings(store, value_model).held_out_share
        split = split_episodes(
            len(table.episode_lengths),
            ratios=(1 - 2 * share, share, share),
            originals=table.originals,
        )
        keys = episode_keys(store, dataset, table)
        parts: dict[Role, Iterable[int]] = {
            "train": split.train, "validation": split.validation, "test": split.test
        }  # fmt: skip
        known = {keys[episode]: role for role, part in parts.items() for episode in part}
    earlier = store.get(parents["start"]) if "start" in parents else None
    if isinstance(earlier, ValueCheckpoint):
        trained = _known_roles(store, earlier).items()
        known |= {key: role for key, role in trained if role == "train"}
    return known


def episode_keys(store: Store, dataset: AnyDataset, table: "FrameTable") -> "list[EpisodeKey]":
    """What identifies every episode of ``dataset``, also after merging and relabelling."""
    from recap_core.data.annotations import EpisodeKey, numbered

    origin = "" if all(table.sources) else _origin(store, dataset)
    rows = table.meta.episodes
    names = rows.column("raw_episode").to_pylist() if "raw_episode" in rows.column_names else []
    names = names or [None] * len(table.episode_lengths)
    return [
        EpisodeKey(source or origin, name or numbered(episode))
        for episode, (source, name) in enumerate(zip(table.sources, names, strict=True))
    ]


def _origin(store: Store, dataset: AnyDataset) -> str:
    """Id of what a dataset is a copy of, or of itself."""
    if isinstance(dataset, RelabeledDataset | DatasetCopy):
        parent = store.get(dataset.parents[0])
        return _origin(store, parent) if isinstance(parent, AnyDataset) else parent.id
    return dataset.id
