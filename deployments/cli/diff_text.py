"""``recap lineage diff``: text for people, JSON for programs."""

import json as json_format
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.cli.options import Output, print_indented
from deployments.cli.quantities import count_text
from deployments.cli.trace_text import labels_lines, recordings_table, value_model_line
from recap_core.lineage.changes import Change
from recap_core.stages.diff_content import Flips, LineageDiff

_SHOWN_METRICS = ("cross_entropy", "spearman", "separation", "top1", "top5", "max_bin_share")
MAX_SETTINGS = 30


def tell(diff: LineageDiff, *, json: bool) -> None:
    """Print what differs between two artifacts."""
    if json:
        sys.stdout.write(json_format.dumps(diff.plain(), indent=2) + "\n")
        return
    console = Output(json=False, verbose=False).console
    console.print(
        f"[bold]{diff.old.kind.replace('_', ' ')} {diff.old.label} -> {diff.new.label}[/bold]"
    )
    _tell_decision(diff, console)
    _tell_success(diff, console)
    _tell_recordings(diff, console)
    _tell_labels(diff, console)
    _tell_value_model(diff, console)
    _tell_settings("settings", diff.settings, console)
    _tell_code(diff, console)
    for note in diff.notes:
        console.print()
        print_indented(console, f"note: {escape(note)}")


def _tell_decision(diff: LineageDiff, console: Console) -> None:
    for which, named, decision in (
        ("old", diff.old, diff.decision.old),
        ("new", diff.new, diff.decision.new),
    ):
        if decision is not None:
            reasons = "; ".join(reason.removesuffix(".") for reason in decision.reasons)
            told = f": {escape(reasons)}" if reasons else ""
            print_indented(console, f"  {which}, {named.label}: {decision.verdict}{told}")


def _tell_success(diff: LineageDiff, console: Console) -> None:
    old, new = diff.evaluation.old, diff.evaluation.new
    if old is None and new is None:
        return
    _heading(console, "success [95 %]")
    for which, policy, evaluation in (("old", diff.policy.old, old), ("new", diff.policy.new, new)):
        name = f" {policy.label}" if policy else ""
        told = escape(evaluation.text()) if evaluation else "not evaluated"
        print_indented(console, f"  {which} policy{name}: {told}")
    if diff.difference is not None:
        found = diff.difference
        print_indented(console, f"  difference: {escape(found.text())} ({found.rests_on})")


def _tell_recordings(diff: LineageDiff, console: Console) -> None:
    same = f"{count_text(diff.num_recordings_in_both, 'recording')} in both"
    _heading(console, "experience")
    if not diff.recordings_added and not diff.recordings_removed:
        print_indented(console, f"  the same: {same}")
    for title, recordings in (
        ("added", diff.recordings_added),
        ("no longer there", diff.recordings_removed),
    ):
        if recordings:
            num_episodes = sum(recording.num_episodes for recording in recordings)
            print_indented(console, f"  {title}: {count_text(num_episodes, 'episode')}; {same}")
            console.print(recordings_table(recordings))
    old, new = diff.annotations.old, diff.annotations.new
    if new is not None and (old is None or old.of.id != new.of.id):
        print_indented(
            console,
            f"  corrections {new.of.label}: {new.num_changed} outcomes changed, "
            f"{new.num_excluded} episodes left out"
            + (f" (before: {old.num_changed} and {old.num_excluded})" if old else ""),
        )


def _tell_labels(diff: LineageDiff, console: Console) -> None:
    old, new = diff.labels.old, diff.labels.new
    if old is None and new is None:
        return
    _heading(console, "labels")
    for which, labels in (("old", old), ("new", new)):
        if labels is None:
            print_indented(console, f"  {which}: none of a value model")
        else:
            lines = labels_lines(labels)
            print_indented(console, f"  {which} {escape(lines[0])}")
            if old is None or new is None or old.rule != new.rule:
                print_indented(console, f"    {escape(lines[1].strip())}")
    if diff.flips is not None:
        _tell_flips(diff.flips, console)


def _tell_flips(flips: Flips, console: Console) -> None:
    print_indented(
        console,
        f"  {flips.num_frames:,} frames of {flips.num_episodes} episodes that are in both: labels "
        f"changed in {flips.num_changed_episodes} episodes",
    )
    table = Table(box=None, pad_edge=False)
    for name in ("task", "frames", "gained +", "lost +", "other", "+ before", "+ after"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for task in flips.tasks:
        table.add_row(
            task.task, f"{task.frames:,}", str(task.gained), str(task.lost), str(task.other),
            f"{task.positive_before:.1%}", f"{task.positive_after:.1%}",
        )  # fmt: skip
    console.print(table)
    for example in flips.examples:
        changed = ", ".join(f"{n} {name}" for name, n in example.transitions.items())
        frames = "frame" if len(example.frames) == 1 else "frames"
        frames += f" {', '.join(str(frame) for frame in example.frames)}"
        print_indented(
            console, f"  {example.episode} of {example.recording.label}: {changed} ({frames})"
        )


def _tell_value_model(diff: LineageDiff, console: Console) -> None:
    old, new = diff.value_model.old, diff.value_model.new
    if old is None and new is None:
        return
    _heading(console, "value model")
    for which, model in (("old", old), ("new", new)):
        if model is not None:
            print_indented(console, f"  {which} {escape(value_model_line(model))}")
    if old is not None and new is not None and old.of.id != new.of.id:
        changed = [
            f"{name} {a:.3g} -> {b:.3g}"
            for name in _SHOWN_METRICS
            if (a := old.metrics.get(name)) is not None
            and (b := new.metrics.get(name)) is not None
            and a != b
        ]
        if changed:
            print_indented(console, f"  held out: {', '.join(changed)}")


def _tell_settings(title: str, found: tuple[Change, ...], console: Console) -> None:
    _heading(console, title)
    if not found:
        print_indented(console, "  the same")
    for change in found[:MAX_SETTINGS]:
        print_indented(console, f"  {change.key}: {escape(change.text())}")
    if len(found) > MAX_SETTINGS:
        print_indented(console, f"  and {len(found) - MAX_SETTINGS} more; see --json")


def _tell_code(diff: LineageDiff, console: Console) -> None:
    _heading(console, "code")
    old, new = diff.code_version.old, diff.code_version.new
    print_indented(console, f"  {old} -> {new}" if old != new else f"  the same: {new}")
    for change in diff.libraries:
        print_indented(console, f"  {change.key}: {escape(change.text())}")


def _heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{escape(text)}[/bold]")
