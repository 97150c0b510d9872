"""What ``recap value evaluate`` finds out: a value model on any dataset.

Nothing is published, so this is no stage of its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.config.stages import HealthConfig
from recap_core.errors import DataError
from recap_core.lineage.artifacts import AnyDataset, ValueCheckpoint
from recap_core.lineage.store import Store
from recap_core.progress import Progress
from recap_core.stages.value_audit import audit_table
from recap_core.stages.value_roles import (
    episode_roles,
    health_settings,
    judged_roles,
    training_dataset,
)

if TYPE_CHECKING:
    from recap_core.config.labels import TargetConfig
    from recap_core.data.frames import FrameTable
    from recap_core.reports.content import Role
    from recap_core.valuation.audit import Contradiction
    from recap_core.valuation.calibration import Calibration
    from recap_core.valuation.health import HealthReport, HeldOut
    from recap_core.valuation.prediction import ValuePredictor
    from recap_core.valuation.task_health import TaskHealth

SPLITS = ("held_out", "test", "validation", "train", "all")


class Subject(NamedTuple):
    """A value model and the dataset that it is judged on."""

    value_model: ValueCheckpoint
    dataset: AnyDataset
    table: "FrameTable"
    roles: "tuple[Role, ...]"
    """Of every episode of the dataset."""
    judged: "frozenset[Role]"
    """Roles of episodes that say something about the model."""


class Evaluated(NamedTuple):
    """What a value model shows on some episodes."""

    subject: Subject
    predictor: "ValuePredictor"
    config: HealthConfig
    episodes: tuple[int, ...]
    held_out: "HeldOut"
    health: "HealthReport"
    calibration: "Calibration"
    tasks: "tuple[TaskHealth, ...]"
    values: Float[np.ndarray, " n"]
    """V of the evaluated frames; NaN elsewhere."""
    targets: Float[np.ndarray, " n"]
    audit: "tuple[Contradiction, ...]"
    trained_cross_entropy: float | None
    """Nats, on as many episodes that it was trained on; None if there are none here."""


def open_subject(
    store: Store, value_model: ValueCheckpoint, dataset: AnyDataset | None = None
) -> Subject:
    """The dataset to judge on, by default the one that the model was trained on.

    Raises:
        DataError: If the model was not trained here and no dataset is named.
    """
    from recap_core.data.frames import read_frames

    chosen = dataset or training_dataset(store, value_model)
    table = read_frames(store.path(chosen))
    roles = episode_roles(store, value_model, chosen, table)
    return Subject(value_model, chosen, table, roles, judged_roles(store, value_model))


def episodes_of_split(subject: Subject, split: str) -> tuple[int, ...]:
    """Episodes of one of :data:`SPLITS`; ``held_out`` are all that may judge the model.

    Raises:
        DataError: If there are none.
    """
    wanted = subject.judged if split == "held_out" else {split}
    found = tuple(i for i, role in enumerate(subject.roles) if split == "all" or role in wanted)
    if not found:
        raise DataError(
            f"{subject.dataset.name}-{subject.dataset.id[:8]} has no {split} episodes: all of its "
            f"{len(subject.roles)} are {', '.join(sorted(set(subject.roles)))}. Choose others with "
            "--split, for instance all or 0-9."
        )
    return found


def evaluate_value_model(
    store: Store,
    subject: Subject,
    episodes: Sequence[int],
    *,
    progress: Progress | None = None,
) -> Evaluated:
    """Predict ``episodes`` and judge the predictions by the bars the model was trained under.

    Raises:
        CheckpointError: If the value model does not fit its own configuration.
        DataError: If the dataset lacks what the model sees, or has no frame to judge on.
    """
    from recap_core.training.value_batches import value_targets
    from recap_core.valuation.health import assess_health, calibration_of, predict_held_out
    from recap_core.valuation.task_health import health_by_task

    table = subject.table
    config = health_settings(store, subject.value_model)
    predictor, rule = open_predictor(store, subject.value_model)
    targets = value_targets(table, rule).targets
    held_out = predict_held_out(table, predictor, targets, episodes, progress=progress)
    values = np.full(table.num_frames, np.nan)
    values[table.episode_ends[held_out.episode] - 1 - held_out.frames_to_go] = held_out.values
    trained = _trained(subject, len(episodes))
    trained_cross_entropy = None
    if trained and not set(trained) & set(episodes):
        own = predict_held_out(table, predictor, targets, trained, progress=progress)
        trained_cross_entropy = float(own.cross_entropy.mean())
    return Evaluated(
        subject,
        predictor,
        config,
        tuple(episodes),
        held_out,
        assess_health(held_out, config),
        calibration_of(held_out, config),
        health_by_task(held_out, table.episode_tasks, table.tasks, config),
        values,
        targets,
        audit_table(table, values, rule, episodes),
        trained_cross_entropy,
    )


def open_predictor(
    store: Store, value_model: ValueCheckpoint
) -> "tuple[ValuePredictor, TargetConfig]":
    """A value model with its averaged parameters where it has them, and its target rule.

    Raises:
        CheckpointError: If it is an import with leaves that have yet to be trained.
    """
    from recap_core.stages.value_loading import load_value_model
    from recap_core.valuation.prediction import ValuePredictor

    loaded = load_value_model(store, value_model)
    return ValuePredictor(loaded.config, loaded.params, loaded.transform), loaded.targets


def _trained(subject: Subject, count: int) -> list[int]:
    """At most ``count`` episodes that the model was trained on, spread over the dataset."""
    trained = [i for i, role in enumerate(subject.roles) if role == "train"]
    if len(trained) <= count:
        return trained
    return [trained[i] for i in np.linspace(0, len(trained) - 1, count).astype(int)]
