"""``recap lineage trace``: text for people, JSON for programs."""

import json as json_format
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.cli.lineage_text import spans
from deployments.cli.options import Output, print_indented
from recap_core.stages.trace_content import (
    Named,
    Origin,
    Trace,
    TracedLabels,
    TracedPolicy,
    TracedRecording,
    TracedRound,
    TracedValueModel,
    Uses,
)

MAX_NAMES = 6
MAX_EVALUATIONS = 12


def tell(trace: Trace, *, json: bool) -> None:
    """Print what made an artifact, and what it led to."""
    if json:
        sys.stdout.write(json_format.dumps(trace.model_dump(mode="json"), indent=2) + "\n")
        return
    console = Output(json=False, verbose=False).console
    refs = f"  <- {', '.join(trace.subject.refs)}" if trace.subject.refs else ""
    print_indented(console, f"[bold]{_kind(trace.subject.kind)} {trace.subject.label}[/bold]{refs}")
    if trace.origin is not None:
        _tell_origin(trace.origin, console)
    if trace.uses is not None:
        _tell_uses(trace.uses, console)


def recordings_table(recordings: Sequence[TracedRecording], title: str = "") -> Table:
    """One line per recording, and their sum."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in ("recording", "when", "round", "episodes", "ok", "by hand", "driven by", "robot"):
        is_number = name in {"round", "episodes", "ok", "by hand"}
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for recording in recordings:
        table.add_row(
            recording.of.label,
            _when(recording),
            str(recording.round_index),
            str(recording.num_episodes),
            str(recording.num_successes),
            f"{recording.intervention_share:.0%}",
            recording.collector.label if recording.collector else recording.mode,
            ", ".join(filter(None, (recording.robot, recording.operator))) or recording.host,
        )
    if len(recordings) > 1:
        frames = sum(r.num_frames for r in recordings)
        by_hand = sum(r.num_intervention_frames for r in recordings)
        table.add_row(
            f"{len(recordings)} recordings",
            f"{frames:,} frames",
            "",
            str(sum(r.num_episodes for r in recordings)),
            str(sum(r.num_successes for r in recordings)),
            f"{by_hand / frames:.0%}",
            style="bold",
        )
    return table


def labels_lines(labels: TracedLabels) -> list[str]:
    """A label set and its rule."""
    counts = f"{labels.num_positive} positive, {labels.num_negative} negative"
    share = f"{labels.autonomous_positive_share:.1%} of the pool positive"
    return [f"{labels.of.label}: {counts}, {labels.num_none} none; {share}", f"  {labels.rule}"]


def value_model_line(model: TracedValueModel) -> str:
    """A value model and its health."""
    health = "healthy" if model.healthy else "NOT healthy"
    numbers = [
        f"{name} {value:.3g}"
        for name in ("spearman", "separation", "cross_entropy")
        if (value := model.metrics.get(name)) is not None
    ]
    told = ", ".join([f"imported from {model.source}" if model.source else health, *numbers])
    return f"{model.of.label}: {model.num_steps} steps, {told}"


def _tell_origin(origin: Origin, console: Console) -> None:
    _tell_rounds(origin.rounds, console)
    _section(
        console,
        "success [95 %]",
        [f"{e.of.label}: {e.text()}" for e in origin.evaluations[-MAX_EVALUATIONS:]],
    )
    _section(console, "trained", [_trained(policy) for policy in origin.policies])
    _section(console, "labelled", [line for one in origin.labels for line in labels_lines(one)])
    _section(console, "judged by", [value_model_line(model) for model in origin.value_models])
    _section(
        console,
        "corrected",
        [
            f"{one.of.label}: {one.num_changed} outcomes changed, {one.num_excluded} episodes "
            "left out"
            for one in origin.annotations[-1:]  # the newest holds the earlier ones
        ],
    )
    if origin.recordings:
        _heading(console, "learned from")
        console.print(recordings_table(origin.recordings))
    if origin.missing:
        names = ", ".join(id_[:8] for id_ in origin.missing)
        console.print(f"\nnot in this store, removed or never brought here: {names}")
    console.print(f"\ncode: {', '.join(origin.code_versions)}")


def _tell_uses(uses: Uses, console: Console) -> None:
    _tell_rounds(uses.rounds, console)
    for ref, id_ in uses.in_use.items():
        console.print(f"[bold]in use[/bold]: {ref} ({id_[:8]}) learned from it")
    if not uses.in_use:
        console.print("nothing that is current, candidate or start learned from it")
    for kind, found in uses.by_kind.items():
        _heading(console, f"{len(found)} of kind {_kind(kind)}")
        print_indented(console, f"  {_names(found)}")
    if uses.policies:
        _heading(console, f"{len(uses.policies)} policies")
        shown = uses.policies[-MAX_EVALUATIONS:]
        if len(uses.policies) > len(shown):
            print_indented(console, f"  the newest {len(shown)}:")
        for policy, evaluations in shown:
            told = evaluations[-1].text() if evaluations else "not evaluated"
            refs = f"  <- {', '.join(policy.refs)}" if policy.refs else ""
            print_indented(console, escape(f"  {policy.label}: {told}{refs}"))
    if uses.num_later_recordings:
        console.print(f"\nthese policies collected {uses.num_later_recordings} later recordings")


def _tell_rounds(rounds: Sequence[TracedRound], console: Console) -> None:
    by_role: dict[str, list[str]] = {}
    for one in rounds:
        verdict = f" ({one.verdict})" if one.role == "policy" else ""
        by_role.setdefault(f"{one.role.replace('_', ' ')}{verdict}", []).append(one.round)
    for role, found in by_role.items():
        print_indented(console, f"  {role} of {', '.join(spans(list(dict.fromkeys(found))))}")


def _trained(policy: TracedPolicy) -> str:
    if policy.source is not None:
        return f"{policy.of.label}: imported from {policy.source}"
    data = ""
    if policy.dataset is not None:
        data = f" on {policy.dataset.label}"
    if policy.num_episodes is not None:
        data += f" ({policy.num_episodes} episodes, {policy.num_frames:,} frames)"
    start = f", started from {policy.start[:8]}" if policy.start else ""
    return (
        f"{policy.of.label}: {policy.num_steps} steps{data}{start}; "
        f"{policy.finished_at:%Y-%m-%d %H:%M} on {policy.host}, {policy.seconds:.0f} s"
    )


def _names(found: Sequence[Named]) -> str:
    labels = [one.label for one in found]
    if len(labels) > MAX_NAMES:
        return ", ".join([*labels[:2], f"... {len(labels) - 4} more ...", *labels[-2:]])
    return ", ".join(labels)


def _when(recording: TracedRecording) -> str:
    if recording.recorded_at is None:
        return f"{recording.published_at:%Y-%m-%d %H:%M}"
    return f"{datetime.fromtimestamp(recording.recorded_at, UTC):%Y-%m-%d %H:%M}"


def _section(console: Console, title: str, lines: Sequence[str]) -> None:
    """A title and its lines; nothing without lines."""
    if lines:
        _heading(console, title)
    for line in lines:
        print_indented(console, f"  {escape(line)}")


def _heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{escape(text)}[/bold]")


def _kind(kind: str) -> str:
    return kind.replace("_", " ")
