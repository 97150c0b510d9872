"""From a labelled dataset to the parts of a report that show its episodes and labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from recap_core.config.labels import LabelConfig
from recap_core.config.stages import ReportConfig
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.label_table import LABELS_FILE, LabelTable, read_label_table
from recap_core.data.video import decode_frames
from recap_core.lineage.artifacts import AnyDataset, Labels, Values
from recap_core.lineage.store import Store
from recap_core.reports.content import LabelShare, Note, Thumbnail, ValueCurve
from recap_core.stages.label_counts import label_shares
from recap_core.stages.label_origin import read_rule
from recap_core.stages.label_words import rule_in_words
from recap_core.stages.value_audit import targets_of, value_model_of
from recap_core.training.value_batches import value_targets
from recap_core.valuation.values import read_values

NUM_THUMBNAILS = 8


class EpisodeParts(NamedTuple):
    """What a report says of episodes and labels."""

    curves: tuple[ValueCurve, ...]
    rule: str
    shares: tuple[LabelShare, ...]
    notes: tuple[Note, ...]


class _Labelled(NamedTuple):
    table: FrameTable
    values: Float[np.ndarray, " n"]
    targets: Float[np.ndarray, " n"]
    labels: LabelTable
    thresholds: dict[str, float | None]


def label_parts(  # noqa: PLR0913 - options are keyword-only
    store: Store,
    dataset: AnyDataset,
    values: Values | None,
    labels: Labels | None,
    config: ReportConfig,
    *,
    also: Sequence[int] = (),
) -> EpisodeParts:
    """Value curves of some episodes, label shares per task, the rule in words, and remarks.

    Args:
        store: Where everything is.
        dataset: The labelled dataset.
        values: V of its frames; None where the value model was not healthy.
        labels: None likewise.
        config: How many curves to show.
        also: Episodes to show besides the chosen ones.
    """
    notes = []
    if not dataset.cameras:
        notes.append(Note(text="No cameras were recorded, so episodes have no pictures."))
    if values is None or labels is None:
        return EpisodeParts((), "", (), tuple(notes))
    rule = read_rule(store.path(labels))
    if rule is None:
        words = f"Labels {labels.name}-{labels.id[:8]} were imported; their tool knows the rule."
    else:
        words = rule_in_words(LabelConfig.model_validate(rule["rule"]))
    table = read_frames(store.path(dataset))
    labelled = _Labelled(
        table,
        read_values(store.path(values)),
        value_targets(table, targets_of(store, value_model_of(store, values))).targets,
        read_label_table(store.path(labels) / LABELS_FILE),
        rule["thresholds"] if rule else {},
    )
    episodes = dict.fromkeys((*chosen_episodes(table, config.num_value_curves), *also))
    curves = tuple(_curve(labelled, dataset, int(episode)) for episode in episodes)
    shares = label_shares(table, labelled.labels.adv_ind, labelled.thresholds)
    return EpisodeParts(curves, words, shares, tuple(notes))


def chosen_episodes(table: FrameTable, num_episodes: int) -> list[int]:
    """Episodes that tell different stories, of the latest round.

    In turn: a success without help, a success with corrections, a failure; then the next of each.
    """
    rollouts = table.rounds == table.rounds.max()
    helped = np.add.reduceat(table.is_intervention, table.episode_starts) > 0
    stories = [
        np.flatnonzero(rollouts & table.success & ~helped),
        np.flatnonzero(rollouts & table.success & helped),
        np.flatnonzero(rollouts & ~table.success),
    ]
    longest = max(len(story) for story in stories)
    in_turn = [int(story[i]) for i in range(longest) for story in stories if i < len(story)]
    return in_turn[:num_episodes]


def _curve(labelled: _Labelled, dataset: AnyDataset, episode: int) -> ValueCurve:
    table = labelled.table
    start, end = int(table.episode_starts[episode]), int(table.episode_ends[episode])
    rows = slice(start, end)
    is_intervention = table.is_intervention[rows]
    task = table.tasks[table.episode_tasks[episode]]
    success = bool(table.success[episode])
    ending = "success" if success else "failure"
    helped = " with corrections" if is_intervention.any() else " without help"
    return ValueCurve(
        title=f"Round {table.rounds[episode]}: {ending}{helped if success else ''}",
        episode_index=episode,
        fps=table.fps,
        outcome=ending,
        values=labelled.values[rows],
        targets=labelled.targets[rows],
        advantage=labelled.labels.advantage[rows],
        adv_ind=labelled.labels.adv_ind[rows],
        is_intervention=is_intervention,
        threshold=labelled.thresholds.get(task),
        thumbnails=_thumbnails(table, dataset, np.arange(start, end)),
    )


def _thumbnails(
    table: FrameTable, dataset: AnyDataset, frames: Int[np.ndarray, " t"]
) -> tuple[Thumbnail, ...]:
    if not dataset.cameras:
        return ()
    camera = dataset.cameras[0]
    picks = np.unique(np.linspace(0, len(frames) - 1, NUM_THUMBNAILS).astype(int))
    images = decode_frames(table.meta.root, [camera], frames[picks])[camera]
    name = camera.removeprefix("observation.images.")
    return tuple(
        Thumbnail(frame=int(frame), image=image, camera=name)
        for frame, image in zip(picks, images, strict=True)
    )
