"""The report of a round, from its artifacts."""

from typing import TYPE_CHECKING, NamedTuple

from recap_core.config.stages import ReportConfig
from recap_core.lineage.artifacts import (
    AnyDataset,
    Artifact,
    Evaluation,
    Labels,
    PolicyCheckpoint,
    Report,
    ValueCheckpoint,
    Values,
)
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.registry import REPORT

if TYPE_CHECKING:
    from recap_core.reports.content import IterationReport

PAGE = "index.html"


class _Parts(NamedTuple):
    """The inputs of a report, by role."""

    before: Evaluation
    after: Evaluation
    control: Evaluation | None
    policy: PolicyCheckpoint
    dataset: AnyDataset
    value_model: ValueCheckpoint
    values: Values | None
    labels: Labels | None


def write_report(  # noqa: PLR0913 - everything that a report shows, by name
    before: Evaluation,
    after: Evaluation,
    *,
    control: Evaluation | None,
    policy: PolicyCheckpoint,
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    values: Values | None,
    labels: Labels | None,
    config: ReportConfig,
    name: str,
    store: Store,
    progress: Progress | None = None,
) -> Report:
    """Success bars, value curves with labels and thumbnails, training curves, lineage: one page.

    Args:
        before: Of the policy that fine-tuning started from.
        after: Of the new policy.
        control: Of the control arm, if there was one.
        policy: The new policy.
        dataset: What it was trained on.
        value_model: Trained in this round, healthy or not.
        values: V of ``dataset``'s frames; None where the value model was not healthy.
        labels: Made from ``values``; None likewise.
        config: What to show.
        name: Name of the artifact.
        store: Where everything is.
        progress: Who watches.
    """
    del progress

    def build(area: Build) -> Built:
        from recap_core.reports.iteration import write_html

        write_html(_page(store, parts, config), area.output / PAGE)
        return Built({})

    parts = _Parts(before, after, control, policy, dataset, value_model, values, labels)
    return store.produce(REPORT, config, parts._asdict(), name=name, build=build)


def _page(store: Store, parts: _Parts, config: ReportConfig) -> "IterationReport":
    from recap_core.reports.content import IterationReport
    from recap_core.stages import report_parts as made
    from recap_core.stages.report_episodes import label_parts
    from recap_core.stages.report_value import value_parts

    before, after, control, policy, dataset, value_model, values, labels = parts
    shown: list[Artifact] = [policy, before, after]
    shown += [artifact for artifact in (control, values, labels) if artifact is not None]
    health = made.health_summary(store, value_model)
    trust = value_parts(store, dataset, value_model, values)
    episodes = label_parts(store, dataset, values, labels, config, also=trust.shown)
    notes = (*episodes.notes, *made.health_notes(health))
    return IterationReport(
        title=config.title,
        subtitle=", ".join(dataset.tasks),
        created=f"{store.manifest(after).finished_at:%Y-%m-%d %H:%M} UTC",
        success_bars=made.success_bars(before, after, control),
        comparisons=made.comparisons(store, before, after, control),
        costs=made.costs(store, shown, dataset),
        notes=notes,
        value_curves=episodes.curves,
        label_rule=episodes.rule,
        label_shares=episodes.shares,
        health=health,
        calibration=trust.calibration,
        tasks=trust.tasks,
        audit=trust.audit,
        num_audited=trust.num_audited,
        fps=dataset.fps,
        training_curves=made.training_curves(store, policy, value_model),
        stages=made.stage_rows(store, shown),
        lineage=made.lineage_graph_of(store, shown, highlight=policy),
        reproduction=made.reproduction(store, policy),
    )
