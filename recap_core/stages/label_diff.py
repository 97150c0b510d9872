"""Two label sets beside each other: of one dataset, or of two that share episodes.

Nothing is published, so this is no stage of its own.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from recap_core.config.labels import LabelConfig
from recap_core.data.columns import IMAGE_PREFIX
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.label_table import LABELS_FILE, LabelTable, read_label_table
from recap_core.errors import IncompatibleError
from recap_core.labels.adv_ind import NAMES, POSITIVE
from recap_core.labels.difference import MatchedEpisodes, frames_of, match_episodes, transitions
from recap_core.lineage.artifacts import Labels
from recap_core.lineage.store import Store
from recap_core.reports.content import Fact, Note
from recap_core.reports.label_content import (
    ChangedEpisode,
    ChangedPicture,
    DiffPage,
    TaskChange,
)
from recap_core.reports.numbers import count, percent
from recap_core.reports.svg import runs
from recap_core.stages.label_origin import read_rule
from recap_core.stages.label_references import Labelled
from recap_core.stages.label_words import rule_in_words
from recap_core.stages.value_roles import episode_keys

MAX_PICTURES = 6
"""Of an episode, one from the middle of each of its longest stretches of changed labels."""
THUMBNAIL_PX = 168


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    labels: Labels
    table: FrameTable
    marks: LabelTable
    rule: str


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelDiff:
    """Frames of the episodes that both datasets have, by label before and after."""

    before: _Side
    after: _Side
    matched: MatchedEpisodes
    frames_before: Int[np.ndarray, " n"]
    """Global indices in the first dataset of every frame that is compared."""
    frames_after: Int[np.ndarray, " n"]
    by_task: Int[np.ndarray, "k 3 3"]
    """Frames of the second dataset's tasks by label before (rows) and after."""
    by_episode: Int[np.ndarray, "m 3 3"]

    def tasks(self) -> tuple[TaskChange, ...]:
        """The change of every task that has frames in both."""
        return tuple(
            _task_change(task, counts)
            for task, counts in zip(self.after.table.tasks, self.by_task, strict=True)
            if counts.sum()
        )

    def changed_episodes(self) -> list[int]:
        """Positions among the matched episodes of those with changed labels, most changed first."""
        changed = self.by_episode.sum((1, 2)) - np.trace(self.by_episode, axis1=1, axis2=2)
        order = np.argsort(-changed, kind="stable")
        return [int(i) for i in order if changed[i]]

    def plain(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        matched = self.matched
        return {
            "before": self.before.labels.id,
            "after": self.after.labels.id,
            "episodes": len(matched.before),
            "only_before": matched.num_only_before,
            "only_after": matched.num_only_after,
            "resized": matched.num_resized,
            "frames": len(self.frames_before),
            "tasks": [
                {
                    "task": change.task,
                    "frames": change.num_frames,
                    "gained": change.gained,
                    "lost": change.lost,
                    "other": change.other,
                    "positive_before": round(change.before, 6),
                    "positive_after": round(change.after, 6),
                }
                for change in self.tasks()
            ],
            "changed_episodes": [
                {
                    "before": int(matched.before[i]),
                    "after": int(matched.after[i]),
                    "transitions": {
                        f"{NAMES[a]}->{NAMES[b]}": int(self.by_episode[i, a, b])
                        for a in range(len(NAMES))
                        for b in range(len(NAMES))
                        if a != b and self.by_episode[i, a, b]
                    },
                }
                for i in self.changed_episodes()
            ],
        }


def diff_labels(before: Labelled, after: Labelled, *, store: Store) -> LabelDiff:
    """Compare two label sets.

    Labels of one dataset are compared frame by frame. Across datasets, episodes are the same if
    their source and raw episode are, as in the datasets of two rounds.

    Raises:
        IncompatibleError: If the datasets share no episode.
        DataError: If labels or datasets cannot be read.
    """
    first, second = _side(before, store), _side(after, store)
    lengths = first.table.episode_lengths, second.table.episode_lengths
    same = before.labels.parents[0] == after.labels.parents[0]
    names = [
        _numbers(side.table) if same else episode_keys(store, named.dataset, side.table)
        for named, side in ((before, first), (after, second))
    ]
    matched = match_episodes(
        names[0], names[1], lengths_before=lengths[0], lengths_after=lengths[1]
    )
    if not len(matched.before):
        raise IncompatibleError(
            f"labels {before.labels.name}-{before.labels.id[:8]} and {after.labels.name}-"
            f"{after.labels.id[:8]} are of datasets that share no episode, so there is nothing to "
            "compare. Compare labels of one project's rounds."
        )
    frames = frames_of(matched.before, lengths[0]), frames_of(matched.after, lengths[1])
    marks = first.marks.adv_ind[frames[0]], second.marks.adv_ind[frames[1]]
    sizes = lengths[0][matched.before]
    return LabelDiff(
        before=first,
        after=second,
        matched=matched,
        frames_before=frames[0],
        frames_after=frames[1],
        by_task=transitions(
            *marks, second.table.task_index[frames[1]], num_groups=len(second.table.tasks)
        ),
        by_episode=transitions(
            *marks, np.repeat(np.arange(len(sizes)), sizes), num_groups=len(sizes)
        ),
    )


def diff_page(diff: LabelDiff, *, num_episodes: int) -> DiffPage:
    """The content of the page about a difference, with pictures of the most changed episodes."""
    changed = diff.changed_episodes()
    return DiffPage(
        title="Label diff",
        subtitle=f"{_named(diff.before.labels)} → {_named(diff.after.labels)}",
        rules=(diff.before.rule, diff.after.rule),
        facts=_facts(diff),
        notes=_notes(diff),
        tasks=diff.tasks(),
        episodes=tuple(_episode(diff, i) for i in changed[:num_episodes]),
        num_more_episodes=max(len(changed) - num_episodes, 0),
    )


def _side(side: Labelled, store: Store) -> _Side:
    labels = side.labels
    rule = read_rule(store.path(labels))
    words = "imported; their tool knows the rule"
    return _Side(
        labels=labels,
        table=read_frames(store.path(side.dataset)),
        marks=read_label_table(store.path(labels) / LABELS_FILE),
        rule=rule_in_words(LabelConfig.model_validate(rule["rule"])) if rule else words,
    )


def _numbers(table: FrameTable) -> list[Hashable]:
    return list(range(len(table.episode_lengths)))


def _task_change(task: str, counts: Int[np.ndarray, "3 3"]) -> TaskChange:
    total = int(counts.sum())
    changed = total - int(np.trace(counts))
    gained = int(counts[:, POSITIVE].sum() - counts[POSITIVE, POSITIVE])
    lost = int(counts[POSITIVE].sum() - counts[POSITIVE, POSITIVE])
    return TaskChange(
        task=task,
        num_frames=total,
        gained=gained,
        lost=lost,
        other=changed - gained - lost,
        before=int(counts[POSITIVE].sum()) / total,
        after=int(counts[:, POSITIVE].sum()) / total,
    )


def _facts(diff: LabelDiff) -> tuple[Fact, ...]:
    whole = _task_change("", diff.by_task.sum(0))
    changed = whole.gained + whole.lost + whole.other
    num_changed = len(diff.changed_episodes())
    return (
        Fact(
            label="frames compared",
            value=count(whole.num_frames),
            note=f"{count(len(diff.matched.before))} episodes in both",
        ),
        Fact(
            label="labels changed",
            value=percent(changed / whole.num_frames),
            note=f"{count(changed)} frames in {count(num_changed)} episodes",
        ),
        Fact(label="became positive", value=count(whole.gained)),
        Fact(label="no longer positive", value=count(whole.lost)),
    )


def _notes(diff: LabelDiff) -> tuple[Note, ...]:
    matched, notes = diff.matched, []
    for number, where in (
        (matched.num_only_before, "only in the first dataset"),
        (matched.num_only_after, "only in the second dataset"),
        (matched.num_resized, "of another length in the second dataset"),
    ):
        if number:
            noun = "episode is" if number == 1 else "episodes are"
            notes.append(Note(text=f"{count(number)} {noun} {where}, and not compared."))
    return tuple(notes)


def _episode(diff: LabelDiff, i: int) -> ChangedEpisode:
    first, second = int(diff.matched.before[i]), int(diff.matched.after[i])
    tables = diff.before.table, diff.after.table
    rows = [
        slice(int(table.episode_starts[e]), int(table.episode_ends[e]))
        for table, e in zip(tables, (first, second), strict=True)
    ]
    before, after = diff.before.marks.adv_ind[rows[0]], diff.after.marks.adv_ind[rows[1]]
    change = _task_change("", diff.by_episode[i])
    table = tables[1]
    name = f"{second}" if first == second else f"{first} → {second}"
    return ChangedEpisode(
        name=name,
        task=table.tasks[table.episode_tasks[second]],
        outcome="success" if table.success[second] else "failure",
        fps=table.fps,
        gained=change.gained,
        lost=change.lost,
        other=change.other,
        before=before,
        after=after,
        is_intervention=table.is_intervention[rows[1]],
        pictures=_pictures(diff, rows, before, after),
    )


def _pictures(
    diff: LabelDiff, rows: list[slice], before: np.ndarray, after: np.ndarray
) -> tuple[ChangedPicture, ...]:
    # Only a page has pictures; text and JSON wait for no video library.
    from recap_core.data.video import decode_frames
    from recap_core.reports.thumbnails import jpeg_uri

    is_changed = before != after
    stretches = [(stop - start, start, stop) for start, stop, on in runs(is_changed) if on]
    longest = sorted(stretches, reverse=True)[:MAX_PICTURES]
    frames = sorted((start + stop - 1) // 2 for _, start, stop in longest)
    meta = diff.after.table.meta
    shown: list[str] = [""] * len(frames)
    cameras = [name for name in meta.cameras if name.startswith(IMAGE_PREFIX)][:1]
    if cameras and frames:
        images = decode_frames(meta.root, cameras, rows[1].start + np.array(frames))[cameras[0]]
        shown = [jpeg_uri(image, max_width_px=THUMBNAIL_PX, quality=74) for image in images]
    marks = diff.before.marks.advantage[rows[0]], diff.after.marks.advantage[rows[1]]
    return tuple(
        ChangedPicture(
            picture=picture,
            frame=frame,
            before=NAMES[before[frame]],
            after=NAMES[after[frame]],
            advantages=(float(marks[0][frame]), float(marks[1][frame])),
        )
        for frame, picture in zip(frames, shown, strict=True)
    )


def _named(labels: Labels) -> str:
    return f"{labels.name}-{labels.id[:8]}"
