"""From stored values to the parts of a report that say how far to trust them."""

from typing import TYPE_CHECKING, NamedTuple

from recap_core.lineage.artifacts import AnyDataset, ValueCheckpoint, Values
from recap_core.lineage.store import Store
from recap_core.reports.content import AuditRow, TaskRow
from recap_core.stages.value_audit import audit_rows, audit_table, targets_of
from recap_core.stages.value_report import MAX_AUDITED_PANELS, task_rows
from recap_core.stages.value_roles import episode_roles, health_settings, judged_roles

if TYPE_CHECKING:
    from recap_core.valuation.calibration import Calibration


class ValueParts(NamedTuple):
    """What a report says of a value model besides its verdict."""

    calibration: "Calibration | None"
    tasks: tuple[TaskRow, ...]
    audit: tuple[AuditRow, ...]
    num_audited: int
    shown: tuple[int, ...]
    """Audited episodes that a report should have panels of."""


NOTHING = ValueParts(None, (), (), 0, ())


def value_parts(
    store: Store, dataset: AnyDataset, value_model: ValueCheckpoint, values: Values | None
) -> ValueParts:
    """Calibration and tasks on held-out episodes, audit of all; nothing without values.

    Args:
        store: Where everything is.
        dataset: What the values belong to, or a relabelled copy of it.
        value_model: What they come from.
        values: V of all frames.
    """
    from recap_core.data.frames import read_frames
    from recap_core.training.value_batches import value_targets
    from recap_core.valuation.health import calibration_of, held_out_of_values
    from recap_core.valuation.task_health import health_by_task
    from recap_core.valuation.values import read_values

    if values is None:
        return NOTHING
    table = read_frames(store.path(dataset))
    rule = targets_of(store, value_model)
    stored = read_values(store.path(values))
    roles = episode_roles(store, value_model, dataset, table)
    judged = judged_roles(store, value_model)
    config = health_settings(store, value_model)
    unseen = [episode for episode, role in enumerate(roles) if role in judged]
    targets = value_targets(table, rule).targets
    held_out = held_out_of_values(table, stored, targets, unseen)
    has_frames = len(held_out.values) > 0
    tasks = health_by_task(held_out, table.episode_tasks, table.tasks, config)
    audit = audit_table(table, stored, rule)
    rows = audit_rows(audit, dataset, roles)
    shown = tuple(row.episode_index for row in rows[:MAX_AUDITED_PANELS])
    return ValueParts(
        calibration_of(held_out, config) if has_frames else None,
        task_rows(tasks),
        audit_rows(audit, dataset, roles, shown=shown),
        len(audit),
        shown,
    )
