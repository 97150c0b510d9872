"""``recap value evaluate`` and ``recap value audit``: how far to trust V, and the marks."""

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recap_core.lineage.store import Store
    from recap_core.reports.content import AuditRow
    from recap_core.stages.value_evaluation import Evaluated, Subject
    from recap_core.valuation.calibration import Interval

NUM_AUDIT_LINES = 5

ValueArgument = Annotated[
    str, typer.Argument(metavar="VALUE", help="Value model: id, name-id8 or project/robot/ref.")
]


def evaluate(  # noqa: PLR0913 - one parameter per option
    value_model: ValueArgument,
    dataset: Annotated[
        str | None,
        typer.Argument(help="Dataset to judge it on; default: what it was trained on."),
    ] = None,
    *,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="test|validation|train|all|EPISODES",
            help="Which episodes, or a list such as 0-19,31. Default: those held out; of another "
            "dataset all.",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Report to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the report.")] = False,
    json: JsonOption = False,
) -> None:
    """Judge a value model on episodes: exit code 0 if it may label, 1 if it is not healthy."""
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from recap_core.lineage.artifacts import AnyDataset, ValueCheckpoint
    from recap_core.lineage.device_lock import device_lock
    from recap_core.progress import Terminal
    from recap_core.stages.value_evaluation import evaluate_value_model, open_subject

    store = open_store()
    model = artifact_of_kind(store, value_model, ValueCheckpoint, wanted="a value model")
    chosen = None
    if dataset is not None:
        chosen = artifact_of_kind(store, dataset, AnyDataset, wanted="a dataset")
    subject = open_subject(store, model, chosen)
    episodes, what = _episodes(subject, split or ("all" if dataset else "held_out"))
    with device_lock(Terminal()):
        found = evaluate_value_model(store, subject, episodes, progress=Terminal())
    if html is not None:
        _write_page(store, found, html, force=force)
    if json:
        _print(json_format.dumps(_plain(found, what, html), indent=2))
    else:
        _print("\n".join(_lines(found, what, html)))
    if not found.health.healthy:
        raise typer.Exit(1)


def audit(
    artifact: Annotated[
        str,
        typer.Argument(
            metavar="VALUES", help="Stored values, or a value model whose newest values are meant."
        ),
    ],
    *,
    json: JsonOption = False,
) -> None:
    """Episodes whose V contradicts the operator's mark, and the command that corrects each."""
    from dataclasses import asdict

    from deployments.cli.artifact_arguments import open_store
    from recap_core.stages.value_audit import audit_values, values_named

    store = open_store()
    found = audit_values(store, values_named(store, artifact))
    if json:
        facts = {
            "dataset": found.dataset.id,
            "healthy": found.is_healthy,
            "num_audited": found.num_audited,
            "episodes": [asdict(row) for row in found.rows],
        }
        _print(json_format.dumps(facts, indent=2))
        return
    name = f"{found.dataset.name}-{found.dataset.id[:8]}"
    num_rows = len(found.rows)
    lines = audit_lines(found.rows, found.num_audited, num_rows, healthy=found.is_healthy)
    _print("\n".join([name, *lines]))


def audit_lines(
    rows: "Sequence[AuditRow]", num_audited: int, limit: int, *, healthy: bool
) -> list[str]:
    """The audit for people: one line per episode, and what corrects it."""
    from recap_core.reports.content import ROLE_WORDS

    if not rows:
        return [f"  V contradicts the mark of none of {num_audited} episodes"]
    lines = [f"  V contradicts the mark of {len(rows)} of {num_audited} episodes:"]
    if not healthy:
        lines.append("    (the value model is not healthy, so this says little about the marks)")
    for row in rows[:limit]:
        lines.append(
            f"    {row.score:.2f}  episode {row.episode_index}, a {row.outcome}, ends at "
            f"V {row.late_value:.2f} (as marked {row.late_target:.2f}, otherwise "
            f"{row.other_target:.2f}; {ROLE_WORDS[row.role]})"
        )
        lines.append(f"          {row.command}")
    if len(rows) > limit:
        lines.append(f"    and {len(rows) - limit} more: --html shows them")
    lines.append("    add --project PROJECT/ROBOT, and its next run makes anew what depends on it")
    return lines


def _episodes(subject: "Subject", split: str) -> tuple[tuple[int, ...], str]:
    """Episodes of a split or a list, and what they are called."""
    from deployments.cli.episode_ranges import episode_numbers
    from recap_core.errors import ConfigError
    from recap_core.stages.value_evaluation import SPLITS, episodes_of_split

    if split in SPLITS:
        return episodes_of_split(subject, split), split.replace("_", "-")
    if not any(letter.isdecimal() for letter in split):
        raise ConfigError(
            f"--split {split!r} is no split: choose {', '.join(SPLITS)}, or episodes such as "
            "0-19,31."
        )
    return tuple(episode_numbers([split], len(subject.roles), option="--split")), "chosen"


def _write_page(store: "Store", found: "Evaluated", path: Path, *, force: bool) -> None:
    from recap_core.lineage.atomic_file import atomic_file
    from recap_core.reports.value_page import write_value_report
    from recap_core.stages.value_report import value_report

    with atomic_file(path, overwrite=force) as draft:
        write_value_report(value_report(store, found), draft)


def _lines(found: "Evaluated", what: str, html: Path | None) -> list[str]:
    from recap_core.stages.value_audit import audit_rows
    from recap_core.stages.value_report import warnings

    subject, health, config = found.subject, found.health, found.config
    model, dataset = subject.value_model, subject.dataset
    trained = found.trained_cross_entropy
    beside = "" if trained is None else f" ({trained:.2f} on trained episodes)"
    counts = f"{health.num_success_episodes} successes, {health.num_failure_episodes} failures"
    bars = f"must be above {config.min_spearman:g}", f"must be above {config.min_separation:g}"
    fullest = f"{health.max_bin_share:.0%} of the mass, at most {config.max_bin_share:.0%}"
    lines = [
        f"value model {model.name}-{model.id[:8]} on {dataset.name}-{dataset.id[:8]}",
        f"  {_counted(len(found.episodes), what)}: {counts}, {health.num_frames:,} frames",
        f"  rank correlation   {_interval(health.spearman)}, {bars[0]}",
        f"  separation         {_interval(health.separation)}, {bars[1]}",
        f"  fullest bin        {fullest}",
        f"  cross-entropy      {health.cross_entropy:.2f} nats{beside}",
        f"  top 1, top 5       {health.top1:.1%}, {health.top5:.1%}",
        f"  calibration error  {_interval(found.calibration.error)}",
    ]
    if len(found.tasks) > 1:
        lines += [
            f"  {task.task}: rank correlation {_interval(task.spearman)}, separation "
            f"{_interval(task.separation)}, {task.num_success_episodes} successes, "
            f"{task.num_failure_episodes} failures"
            for task in found.tasks
        ]
    lines += [f"  note: {text}" for text in warnings(found)]
    rows = audit_rows(found.audit, dataset, subject.roles)
    lines += audit_lines(
        rows, len(found.audit), NUM_AUDIT_LINES, healthy=health.healthy or model.healthy
    )
    lines += ["  healthy"] if health.healthy else ["  NOT healthy"]
    lines += [f"    {reason}" for reason in health.reasons]
    return [*lines, *([f"  {html}"] if html else [])]


def _counted(num_episodes: int, what: str) -> str:
    if what == "all":
        return f"all {num_episodes} episodes"
    return f"{num_episodes} {what} episodes"


def _interval(measured: "Interval") -> str:
    if measured.estimate != measured.estimate:
        return "unknown"
    return f"{measured.estimate:.2f} [{measured.low:.2f}, {measured.high:.2f}]"


def _plain(found: "Evaluated", what: str, html: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    from recap_core.stages.train_value import finite
    from recap_core.stages.value_audit import audit_rows
    from recap_core.stages.value_report import warnings

    rows = audit_rows(found.audit, found.subject.dataset, found.subject.roles)
    facts = {
        "value_model": found.subject.value_model.id,
        "dataset": found.subject.dataset.id,
        "split": what,
        "episodes": found.episodes,
        "healthy": found.health.healthy,
        "reasons": found.health.reasons,
        "metrics": found.health.metrics(),
        "trained_cross_entropy": found.trained_cross_entropy,
        "warnings": warnings(found),
        "calibration": asdict(found.calibration),
        "tasks": [task._asdict() for task in found.tasks],
        "audit": [asdict(row) for row in rows],
        "html": str(html.absolute()) if html else None,
    }
    return _finite(facts, finite)


def _finite(value: Any, finite: Any) -> Any:  # noqa: ANN401 - JSON
    """``value`` without numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item, finite) for key, item in value.items()}
    if hasattr(value, "_asdict"):
        return _finite(value._asdict(), finite)
    if isinstance(value, list | tuple):
        return [_finite(item, finite) for item in value]
    return finite(value)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
