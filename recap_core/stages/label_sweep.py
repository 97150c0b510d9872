"""What becomes of a dataset's labels over many lookaheads and shares, from stored values.

Nothing is published, so this is no stage of its own: choose a point, and label with it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recap_core.config.labels import LabelConfig
from recap_core.data.label_table import LABELS_FILE, read_label_table
from recap_core.errors import ConfigError, IncompatibleError
from recap_core.labels.sweep import Sweep, sweep
from recap_core.lineage.artifacts import AnyDataset, Labels, Values
from recap_core.lineage.store import Store
from recap_core.reports.content import Fact, Note
from recap_core.reports.label_content import HeatMap, SweepPage
from recap_core.reports.numbers import count
from recap_core.stages.label_inputs import group_names, label_rule, read_label_inputs
from recap_core.stages.label_words import rule_in_words


@dataclass(frozen=True, kw_only=True)
class LabelSweep:
    """The grid, and what it is of."""

    dataset: AnyDataset
    values: Values
    base: Labels | None
    """Labels that flips are counted against."""
    config: LabelConfig
    """What all points have in common."""
    tasks: tuple[str, ...]
    groups: tuple[str, ...]
    grid: Sweep
    seconds: float
    """Spent on the whole grid, without reading."""

    @property
    def num_points(self) -> int:
        """Lookaheads times shares."""
        return len(self.grid.lookaheads) * len(self.grid.shares)

    @property
    def num_frames(self) -> int:
        """Autonomous frames, about which the labels are."""
        return int(self.grid.total.sum())

    def rows(self) -> list[dict[str, Any]]:
        """One point each, as plain JSON values."""
        shares, outcomes = self.grid.positive_share(), self.grid.outcome_share()
        agreement, flips = self.grid.agreement(), self.grid.flips()
        by_task = self.grid.task_outcome_share()
        return [
            {
                "lookahead": lookahead,
                "share": share,
                "positive": int(self.grid.positive[i, j].sum()),
                "positive_share": _number(self.grid.positive[i, j].sum() / max(self.num_frames, 1)),
                "in_successes": _number(outcomes[i, j, 1]),
                "in_failures": _number(outcomes[i, j, 0]),
                "agreement": _number(agreement[i, j]),
                "lost": int(flips[i, j, 0]) if self.base else None,
                "gained": int(flips[i, j, 1]) if self.base else None,
                "tasks": {
                    task: {
                        "share": _number(shares[i, j, k]),
                        "in_successes": _number(by_task[i, j, k, 1]),
                        "in_failures": _number(by_task[i, j, k, 0]),
                    }
                    for k, task in enumerate(self.tasks)
                    if k < shares.shape[2]
                },
                "thresholds": {
                    name: _number(self.grid.threshold[i, j, g])
                    for g, name in enumerate(self.groups)
                    if g < self.grid.threshold.shape[2]
                },
            }
            for i, lookahead in enumerate(self.grid.lookaheads)
            for j, share in enumerate(self.grid.shares)
        ]


def sweep_labels(  # noqa: PLR0913 - the inputs of a sweep; the rest by name
    dataset: AnyDataset,
    values: Values,
    config: LabelConfig,
    *,
    lookaheads: Sequence[int | None],
    shares: Sequence[float],
    base: Labels | None,
    store: Store,
) -> LabelSweep:
    """Count labels over a grid; all settings but lookahead and share are as in ``config``.

    Args:
        dataset: What is labelled.
        values: V of its frames.
        config: The rule.
        lookaheads: N in frames, or None for the whole episode.
        shares: Positive shares of the pool, each in (0, 1].
        base: Labels of the same dataset to count flips against.
        store: Where everything is.

    Raises:
        ConfigError: If a lookahead or a share is out of range, or the rule has no share.
        IncompatibleError: If values or labels are of another dataset.
        ColumnError: If a value that is needed is missing.
    """
    for artifact in (values, base):
        if artifact is not None and artifact.parents[0] != dataset.id:
            raise IncompatibleError(
                f"{artifact.kind} {artifact.name}-{artifact.id[:8]} belong to dataset "
                f"{artifact.parents[0][:8]}, not to {dataset.name}-{dataset.id[:8]}"
            )
    inputs = read_label_inputs(store.path(dataset), store.path(values), config.frozen_arms)
    before = None
    if base is not None:
        before = read_label_table(store.path(base) / LABELS_FILE).adv_ind
    began = time.perf_counter()
    try:
        grid = sweep(
            inputs.frames,
            inputs.episodes,
            label_rule(config),
            lookaheads=lookaheads,
            shares=shares,
            before=before,
        )
    except ValueError as error:
        raise ConfigError(f"{error}. Change --lookahead, --share or the rule.") from None
    return LabelSweep(
        dataset=dataset,
        values=values,
        base=base,
        config=config,
        tasks=inputs.table.tasks,
        groups=group_names(config, inputs),
        grid=grid,
        seconds=time.perf_counter() - began,
    )


def sweep_page(result: LabelSweep) -> SweepPage:
    """The content of the page about a sweep."""
    grid = result.grid
    outcomes, flips = grid.outcome_share(), grid.flips().sum(-1) / max(result.num_frames, 1)
    maps = [
        _map("Agreement with outcome", _AGREEMENT, grid.agreement(), low=0.5, high=1.0),
        _map("Positive in successes", _SUCCESSES, outcomes[..., 1], class_="positive"),
        _map("Positive in failures", _FAILURES, outcomes[..., 0], class_="negative"),
    ]
    if result.base is not None:
        text = f"Frames whose label differs from {_named(result.base)}."
        highest = float(np.nanmax(flips, initial=0)) or 1.0
        maps.append(_map("Flipped", text, flips, high=highest))
    shares = grid.positive_share()
    per_task = [
        _map(result.tasks[k], "", shares[..., k], class_="positive") for k in range(shares.shape[2])
    ]
    return SweepPage(
        title="Label sweep",
        subtitle=f"{_named(result.dataset)} · values {_named(result.values)}",
        rule=rule_in_words(result.config),
        facts=_facts(result),
        notes=_notes(result),
        rows=tuple("episode" if n is None else str(n) for n in grid.lookaheads),
        columns=tuple(f"{share:.4g}" for share in grid.shares),
        maps=tuple(maps),
        tasks=tuple(per_task),
    )


_AGREEMENT = (
    "Mean of the share of positives in successful episodes and of negatives in failed ones; "
    "50 % is chance."
)
_SUCCESSES = "Share of the autonomous frames of successful episodes that are positive."
_FAILURES = (
    "The same of failed episodes. Some of it is right: a failed episode may begin well. All of it "
    "at the end of episodes is a sign of a wrong tail rule."
)


def _map(  # noqa: PLR0913 - options are keyword-only
    title: str,
    text: str,
    values: np.ndarray,
    *,
    low: float = 0.0,
    high: float = 1.0,
    class_: Any = "candidate",  # noqa: ANN401 - one of HeatMap's
) -> HeatMap:
    return HeatMap(title=title, text=text, values=values, low=low, high=high, class_=class_)


def _facts(result: LabelSweep) -> tuple[Fact, ...]:
    per_point = 1000 * result.seconds / result.num_points
    return (
        Fact(label="autonomous frames", value=count(result.num_frames)),
        Fact(
            label="points",
            value=count(result.num_points),
            note=f"{len(result.grid.lookaheads)} lookaheads, {len(result.grid.shares)} shares",
        ),
        Fact(label="time per point", value=f"{per_point:.2g} ms", note="from stored V"),
        Fact(
            label="tasks",
            value=count(len(result.tasks)),
            note=f"one threshold per {result.config.threshold_per}",
        ),
    )


def _not_counted(config: LabelConfig) -> str:
    """Which frames a sweep leaves out, and whether their labels change with it all the same."""
    who = "Corrections, demonstrations and paused frames"
    if config.paused_frames == "autonomous":
        who = "Corrections and demonstrations"
    judged = [
        name
        for name, is_judged in (
            ("corrections", config.interventions == "by_advantage"),
            ("demonstrations", config.demonstrations == "by_advantage"),
        )
        if is_judged
    ]
    if judged:
        return f"{who} are not counted here, although this rule judges {' and '.join(judged)} too."
    if config.frozen_arms is not None and config.frozen_arms.label == "by_advantage":
        return f"{who} are not counted here; of them, those with a frozen arm are judged too."
    return f"{who} are not counted here: their labels do not depend on the threshold."


def _notes(result: LabelSweep) -> tuple[Note, ...]:
    notes = [Note(text=_not_counted(result.config))]
    outcomes = result.grid.total.sum((0, 2))
    if not outcomes.all():
        missing = "successful" if outcomes[0] else "failed"
        notes.append(
            Note(
                text=f"There are no autonomous frames of {missing} episodes, so there is no "
                "agreement with outcomes.",
                severity="warning",
            )
        )
    if result.base is None:
        text = "There are no labels yet to count flips against."
        notes.append(Note(text=f"{text} Make some with: recap label apply"))
    return tuple(notes)


def _named(artifact: AnyDataset | Values | Labels) -> str:
    return f"{artifact.name}-{artifact.id[:8]}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
