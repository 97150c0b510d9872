"""From artifacts and a label rule's settings to what the arithmetic of labels reads."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from recap_core.config.labels import FrozenArmConfig, LabelConfig
from recap_core.data.columns import ACTION, ADV_IND
from recap_core.data.frames import FrameTable, read_frames
from recap_core.errors import ColumnError
from recap_core.labels.adv_ind import encode_adv_ind
from recap_core.labels.choice import Choice, ThresholdRule
from recap_core.labels.frozen_arms import frozen_arms
from recap_core.labels.labelling import Frames, LabelRule
from recap_core.labels.targets import Episodes
from recap_core.valuation.values import read_values


class LabelInputs(NamedTuple):
    """A dataset as labelling sees it."""

    table: FrameTable
    frames: Frames
    episodes: Episodes
    sources: tuple[str, ...]
    """Names of the sources, by the index that the episodes carry."""


def read_label_inputs(
    dataset: Path, values: Path, frozen: FrozenArmConfig | None = None
) -> LabelInputs:
    """Read what labelling needs.

    Args:
        dataset: Directory of a v3.0 dataset.
        values: Directory of the artifact that holds V of its frames.
        frozen: Find corrections in which an arm stood still.

    Raises:
        DataError: If the dataset or its values cannot be read.
        ColumnError: If a column is missing, or there is not one value per frame.
    """
    table, of_frames = read_frames(dataset), read_values(values)
    if len(of_frames) != table.num_frames:
        raise ColumnError(
            f"{values} holds V of {len(of_frames)} frames, but {dataset} has {table.num_frames}. "
            "Infer the values of this dataset."
        )
    return label_inputs(table, of_frames, frozen)


def label_inputs(
    table: FrameTable, values: Float32[np.ndarray, " n"], frozen: FrozenArmConfig | None = None
) -> LabelInputs:
    """What labelling needs, from an open dataset and the values of its frames.

    Raises:
        ColumnError: If a column is missing.
    """
    names, index = np.unique(np.array(table.sources, dtype=np.str_), return_inverse=True)
    frames = Frames(
        values=values,
        is_intervention=table.is_intervention,
        is_paused=table.is_paused & ~table.is_intervention,
        adv_ind=encode_adv_ind(table.column(ADV_IND)),
        is_frozen=None if frozen is None else _is_frozen(table, frozen),
    )
    episodes = Episodes(
        table.episode_lengths,
        table.success,
        table.episode_tasks,
        table.rounds,
        index.astype(np.int64) if any(table.sources) else None,
    )
    return LabelInputs(table, frames, episodes, tuple(names.tolist()))


def _is_frozen(table: FrameTable, config: FrozenArmConfig) -> Bool[np.ndarray, " n"]:
    still = frozen_arms(
        table.column(ACTION),
        table.is_intervention,
        table.episode_ends,
        arms=config.arms,
        ratio=config.ratio,
    )
    return np.logical_or.reduce(still, axis=1)


def label_rule(config: LabelConfig) -> LabelRule:
    """The settings as the data that the arithmetic takes."""
    targets = config.targets
    return LabelRule(
        lookahead=config.lookahead,
        target_rule=targets.rule,
        fail_cost=targets.fail_cost,
        limit_frames=targets.limit_frames,
        fail_frames=targets.fail_frames,
        discount=targets.discount,
        tail=config.tail,
        cut_at_takeover=config.cut_at_takeover,
        paused_frames=config.paused_frames,
        threshold=ThresholdRule(
            share=config.positive_share,
            threshold=config.threshold,
            scope=config.threshold_per,
            pool=config.pool,
            selection=config.selection,
            comparison=config.comparison,
        ),
        interventions=config.interventions,
        demonstrations=config.demonstrations,
        frozen=config.frozen_arms.label if config.frozen_arms else "by_advantage",
    )


def group_names(config: LabelConfig, inputs: LabelInputs) -> tuple[str, ...]:
    """What the threshold's groups are called, by their number."""
    if config.threshold_per == "task":
        return inputs.table.tasks
    return inputs.sources if config.threshold_per == "source" else ("the dataset",)


def described_rule(config: LabelConfig, choice: Choice, inputs: LabelInputs) -> dict[str, Any]:
    """The rule, and what it led to, as plain JSON values.

    ``thresholds`` has one entry per task, where a task has a single one; ``groups`` has one per
    threshold.
    """

    def number(value: np.floating) -> float | None:
        return None if np.isnan(value) else float(value)

    found = [number(value) for value in choice.threshold]
    tasks = inputs.table.tasks
    by_task = {"task": found, "dataset": found * len(tasks), "source": []}[config.threshold_per]
    groups = [
        {
            "name": name,
            "threshold": found[i],
            "pool_size": int(choice.pool_size[i]),
            "num_positive": int(choice.num_positive[i]),
        }
        for i, name in enumerate(group_names(config, inputs))
        if i < len(found)
    ]
    return {
        "rule": config.model_dump(mode="json"),
        "thresholds": {
            task: by_task[i] if i < len(by_task) else None for i, task in enumerate(tasks)
        },
        "groups": groups,
    }
