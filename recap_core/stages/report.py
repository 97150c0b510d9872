"""The report of a round, from its artifacts."""

from typing import TYPE_CHECKING, NamedTuple

from recap_core.config.stages import ReportConfig
from recap_core.lineage.artifacts import (
    AnyDataset,
    Artifact,
    Evaluation,
    Iteration,
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
    from recap_core.stages.report_numbers import ReportNumbers

PAGE = "index.html"


class _Parts(NamedTuple):
    """The inputs of a report, by role."""

    before: Evaluation | None
    after: Evaluation | None
    control: Evaluation | None
    policy: PolicyCheckpoint
    dataset: AnyDataset
    value_model: ValueCheckpoint
    values: Values | None
    labels: Labels | None
    current: Evaluation | None
    offline: Artifact | None
    previous: Iteration | None


def write_report(  # noqa: PLR0913 - everything that a report shows, by name
    before: Evaluation | None,
    after: Evaluation | None,
    *,
    control: Evaluation | None,
    policy: PolicyCheckpoint,
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    values: Values | None,
    labels: Labels | None,
    current: Evaluation | None = None,
    offline: Artifact | None = None,
    previous: Iteration | None = None,
    config: ReportConfig,
    name: str,
    store: Store,
    progress: Progress | None = None,
) -> Report:
    """Decision, success, value curves with labels, what changed, time, lineage: one page.

    Args:
        before: Of the policy that fine-tuning started from; None where robots are real.
        after: Of the new policy; None likewise.
        control: Of the control arm, if there was one.
        policy: The new policy.
        dataset: What it was trained on.
        value_model: Trained in this round, healthy or not.
        values: V of ``dataset``'s frames; None where the value model was not healthy.
        labels: Made from ``values``; None likewise.
        current: Of the policy in use when the round began.
        offline: Checks of the new policy without a robot.
        previous: The round before; None: this is the first one.
        config: What to show, what was decided, and the settings of the round.
        name: Name of the artifact.
        store: Where everything is.
        progress: Who watches.
    """
    del progress

    def build(area: Build) -> Built:
        from recap_core.reports.iteration import write_html
        from recap_core.stages.report_numbers import write_numbers

        page, metrics, numbers = _page(store, parts, config)
        write_html(page, area.output / PAGE)
        write_numbers(numbers, area.output)
        return Built({}, metrics)

    parts = _Parts(
        before, after, control, policy, dataset, value_model, values, labels, current, offline,
        previous,
    )  # fmt: skip
    return store.produce(REPORT, config, parts._asdict(), name=name, build=build)


def _page(
    store: Store, parts: _Parts, config: ReportConfig
) -> "tuple[IterationReport, dict[str, float], ReportNumbers]":
    from recap_core.reports.content import IterationReport
    from recap_core.stages import report_change as changed
    from recap_core.stages import report_parts as made
    from recap_core.stages.report_episodes import label_parts
    from recap_core.stages.report_numbers import ReportNumbers
    from recap_core.stages.report_value import value_parts

    dataset, policy, value_model = parts.dataset, parts.policy, parts.value_model
    evaluations = made.Evaluations(parts.before, parts.current, parts.control, parts.after)
    results = (*evaluations, parts.offline, parts.values, parts.labels)
    shown = [policy, value_model, *(artifact for artifact in results if artifact is not None)]
    work = made.made_since(store, shown, parts.previous)
    health = made.health_summary(store, value_model)
    trust = value_parts(store, dataset, value_model, parts.values)
    episodes = label_parts(store, dataset, parts.values, parts.labels, config, also=trust.shown)
    confidence = changed.gate_confidence(config.settings)
    comparisons, not_compared = made.comparisons(store, evaluations, confidence=confidence)
    change = changed.change_part(
        store, parts.previous, dataset=dataset, labels=parts.labels, value_model=value_model,
        after=parts.after, new=work.new, config=config,
    )  # fmt: skip
    numbers = ReportNumbers(
        new_bytes=made.sizes(store, work), label_flips=change.change.labels if change.change else ()
    )
    lineage = made.lineage_graph_of(work, highlight=policy)
    last = max(store.manifest(artifact).finished_at for artifact in shown)
    page = IterationReport(
        title=config.title,
        subtitle=", ".join(dataset.tasks),
        created=f"{last:%Y-%m-%d %H:%M} UTC",
        success_bars=made.success_bars(evaluations),
        comparisons=comparisons,
        decision=changed.decision_part(config.decision),
        offline=changed.offline_part(store, parts.offline),
        change=change.change,
        costs=made.costs(work, dataset, num_bytes=numbers.total_bytes),
        notes=(*episodes.notes, *made.health_notes(health), *not_compared, *change.notes),
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
        stages=made.stage_rows(work, numbers.new_bytes),
        num_earlier_stages=len(work.earlier),
        lineage=lineage.graph,
        num_left_out=lineage.num_left_out,
        reproduction=made.reproduction(store, policy),
    )
    return page, {**change.metrics, "new_bytes": float(numbers.total_bytes)}, numbers
