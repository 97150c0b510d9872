"""From an evaluated value model to the content of its page."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from recap_core.lineage.artifacts import AnyDataset
from recap_core.lineage.store import Store
from recap_core.reports.content import (
    Fact,
    HealthSummary,
    Interval,
    Note,
    Role,
    TaskRow,
    Thumbnail,
)
from recap_core.reports.value_content import ValuePanel, ValueReport
from recap_core.stages.value_audit import audit_rows
from recap_core.stages.value_evaluation import Evaluated

if TYPE_CHECKING:
    from recap_core.config.stages import HealthConfig
    from recap_core.data.frames import FrameTable
    from recap_core.valuation.calibration import Interval as Measured
    from recap_core.valuation.health import HealthReport
    from recap_core.valuation.task_health import TaskHealth

MAX_AUDITED_PANELS = 3


def value_report(store: Store, found: Evaluated) -> ValueReport:
    """Panels of telling episodes, calibration, tasks, audit and training curve.

    Raises:
        EpisodeError: If a video cannot be read.
    """
    from recap_core.stages.report_parts import value_training_curve

    value_model, dataset = found.subject.value_model, found.subject.dataset
    panels = _panels(found)
    shown = [panel.episode_index for panel in panels]
    curve = value_training_curve(store, value_model)
    return ValueReport(
        title=f"Value model {value_model.name}-{value_model.id[:8]}",
        subtitle=f"on {dataset.name}-{dataset.id[:8]}, {', '.join(dataset.tasks)}",
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        facts=_facts(found),
        notes=tuple(Note(text=text, severity="warning") for text in warnings(found)),
        health=health_of(found.health, found.config, measured_on=measured_on(found)),
        calibration=found.calibration,
        fps=found.subject.table.fps,
        tasks=task_rows(found.tasks),
        audit=audit_rows(found.audit, dataset, found.subject.roles, shown=shown),
        num_audited=len(found.audit),
        panels=panels,
        training_curves=(curve,) if curve else (),
    )


def warnings(found: Evaluated) -> tuple[str, ...]:
    """What makes the numbers look better or worse than they are."""
    from recap_core.valuation.task_health import overfit_warning

    texts = []
    judged = found.subject.judged
    used = [found.subject.roles[e] for e in found.episodes if found.subject.roles[e] not in judged]
    if used:
        texts.append(
            f"{len(used)} of these {len(found.episodes)} episodes were used in training "
            f"({', '.join(sorted(set(used)))}): the numbers say little about new ones."
        )
    if found.trained_cross_entropy is not None:
        overfit = overfit_warning(found.health.cross_entropy, found.trained_cross_entropy)
        texts += [overfit] if overfit else []
    return tuple(texts)


def measured_on(found: Evaluated) -> str:
    """What kind of episodes the numbers are of."""
    is_unseen = all(found.subject.roles[e] in found.subject.judged for e in found.episodes)
    return "episodes it was not trained on" if is_unseen else "episodes, some seen in training"


def health_of(report: "HealthReport", config: "HealthConfig", *, measured_on: str) -> HealthSummary:
    """A verdict as a page shows it."""
    return HealthSummary(
        healthy=report.healthy,
        spearman=Interval(**_fields(report.spearman), bar=config.min_spearman),
        separation=Interval(**_fields(report.separation), bar=config.min_separation),
        largest_bin_share=report.max_bin_share,
        largest_bin_limit=config.max_bin_share,
        cross_entropy=report.cross_entropy,
        top1=report.top1,
        top5=report.top5,
        held_out_episodes=report.num_success_episodes + report.num_failure_episodes,
        measured_on=measured_on,
        reasons=report.reasons,
    )


def _fields(measured: "Measured") -> dict[str, float]:
    return {"value": measured.estimate, "low": measured.low, "high": measured.high}


def task_rows(tasks: "tuple[TaskHealth, ...]") -> tuple[TaskRow, ...]:
    """Numbers by task as a page shows them."""
    return tuple(TaskRow(**task._asdict()) for task in tasks)


def _facts(found: Evaluated) -> tuple[Fact, ...]:
    health, trained = found.health, found.trained_cross_entropy
    note = "" if trained is None else f"{trained:.2f} on trained episodes"
    return (
        Fact(
            label="episodes",
            value=str(len(found.episodes)),
            note=f"{health.num_success_episodes} successes, {health.num_failure_episodes} failures",
        ),
        Fact(label="frames", value=f"{health.num_frames:,}"),
        Fact(label="cross-entropy", value=f"{health.cross_entropy:.2f} nats", note=note),
        Fact(
            label="off by",
            value=f"{np.nanmean(np.abs(found.values - found.targets)):.2f}",
            note="mean distance of V from its target",
        ),
    )


def told_episodes(found: Evaluated) -> dict[int, str]:
    """Which episodes to show, and why, in reading order."""
    errors = {e: _error(found, e) for e in found.episodes if np.isfinite(_error(found, e))}
    ranked = sorted(errors, key=lambda episode: errors[episode])
    late = {row.episode: row.late_value for row in found.audit}
    roles: dict[int, list[str]] = {}
    if ranked:
        roles.setdefault(ranked[0], []).append("best episode")
        roles.setdefault(ranked[len(ranked) // 2], []).append("median episode")
        roles.setdefault(ranked[-1], []).append("worst episode")
    if late:
        roles.setdefault(max(late, key=lambda e: late[e]), []).append("most like a success")
        roles.setdefault(min(late, key=lambda e: late[e]), []).append("most like a failure")
    for row in [row for row in found.audit if row.score >= 0.5][:MAX_AUDITED_PANELS]:
        roles.setdefault(row.episode, []).append("V contradicts its mark")
    return {episode: ", ".join(words).capitalize() for episode, words in roles.items()}


def _panels(found: Evaluated) -> tuple[ValuePanel, ...]:
    told = told_episodes(found)
    table = found.subject.table
    distributions: dict[int, list[np.ndarray]] = {}
    for batch in found.predictor.predictions(table, sorted(told)):
        for episode in np.unique(table.episode_index[batch.indices]):
            mine = table.episode_index[batch.indices] == episode
            distributions.setdefault(int(episode), []).append(batch.probs[mine])
    panels = []
    for episode, title in told.items():
        rows = slice(int(table.episode_starts[episode]), int(table.episode_ends[episode]))
        panels.append(
            ValuePanel(
                title=title,
                episode_index=episode,
                fps=table.fps,
                outcome="success" if table.success[episode] else "failure",
                role=_role(found, episode),
                error=_error(found, episode),
                values=found.values[rows],
                targets=found.targets[rows],
                is_intervention=table.is_intervention[rows],
                distribution=np.concatenate(distributions[episode]),
                key_frames=key_frames(table, found.subject.dataset, episode),
            )
        )
    return tuple(panels)


def _role(found: Evaluated, episode: int) -> Role:
    return found.subject.roles[episode]


def _error(found: Evaluated, episode: int) -> float:
    table = found.subject.table
    rows = slice(int(table.episode_starts[episode]), int(table.episode_ends[episode]))
    distance = np.abs(found.values[rows] - found.targets[rows])
    return float(distance[np.isfinite(distance)].mean()) if np.isfinite(distance).any() else np.nan


def key_frames(table: "FrameTable", dataset: AnyDataset, episode: int) -> tuple[Thumbnail, ...]:
    """Pictures at the start, the quarters and the end of an episode, of its first camera."""
    from recap_core.data.video import decode_frames

    if not dataset.cameras:
        return ()
    camera = dataset.cameras[0]
    start, end = int(table.episode_starts[episode]), int(table.episode_ends[episode])
    frames = np.unique(np.linspace(0, end - 1 - start, 5).round().astype(int))
    images = decode_frames(table.meta.root, [camera], start + frames)[camera]
    name = camera.removeprefix("observation.images.")
    return tuple(
        Thumbnail(frame=int(frame), image=image, camera=name)
        for frame, image in zip(frames, images, strict=True)
    )
