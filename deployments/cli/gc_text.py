"""What ``recap gc`` prints: what goes and why, what stays and why, what that frees."""

import json as json_format
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deployments.cli.options import Output
from deployments.cli.quantities import bytes_text, count_text
from recap_core.config.retention import RetentionConfig
from recap_core.lineage.garbage import Collected, Plan
from recap_core.lineage.retention import RECENT

_SUM_UP_BEYOND = 30


def retention_policy(
    file: Path | None, keep_rounds: int | None, settings: list[str]
) -> RetentionConfig:
    """What to keep: ``runtime.retention`` of a settings file, then what the command says."""
    from deployments.cli.configuration import load_settings, read_settings

    given: dict[str, Any] = {}
    if file is not None:
        runtime = read_settings(file).get("runtime") or {}
        given = dict(runtime.get("retention") or {}) if isinstance(runtime, dict) else {}
    overrides = [f"{name}={json_format.dumps(value)}" for name, value in given.items()]
    overrides += settings
    if keep_rounds is not None:
        overrides.append(f"keep_rounds={keep_rounds}")
    return load_settings(RetentionConfig(), file=None, overrides=overrides)


def print_plan(plan: Plan, output: Output) -> None:
    """What would go, and with ``--verbose`` what stays."""
    console = output.console
    if output.verbose:
        stays = _table("stays", "kind", "because")
        for kept in plan.keep:
            stays.add_row(_name(kept.manifest), _words(kept.manifest.kind), kept.reason)
        console.print(stays)
        console.print()
    if plan.remove or plan.leftovers:
        console.print(_going(plan, is_full=output.verbose))
        console.print()
    refs = list(plan.retire)
    if output.verbose or len(refs) == 1:
        for ref in refs:
            console.print(f"The ref {ref} goes with what it points to.")
    elif refs:
        console.print(f"{len(refs)} refs, such as {refs[0]}, go with what they point to.")
    num_bytes = bytes_text(plan.freed_bytes)
    console.print(
        f"{count_text(len(plan.remove), 'artifact')} of {len(plan.remove) + len(plan.keep):,} and "
        f"{count_text(len(plan.leftovers), 'other file')} can go; that frees {num_bytes}."
        if plan.remove or plan.leftovers
        else f"Nothing can go: all {len(plan.keep):,} artifacts are needed. See why with --verbose."
    )

    num_recent = sum(kept.reason.startswith(RECENT) for kept in plan.keep)
    if num_recent:
        console.print(
            f"{count_text(num_recent, 'artifact')} would go, but were used lately: see "
            "recent_hours and unused_days."
        )


def _going(plan: Plan, *, is_full: bool) -> Table:
    if is_full or len(plan.remove) + len(plan.leftovers) <= _SUM_UP_BEYOND:
        table = _table("goes", "kind", "because", "frees")
        for item in plan.remove:
            kind = _words(item.manifest.kind)
            table.add_row(_name(item.manifest), kind, item.reason, bytes_text(item.freed_bytes))
        for item in plan.leftovers:
            table.add_row(item.path.name[:40], "", item.what, bytes_text(item.freed_bytes))
        return table
    groups: dict[str, list[int]] = defaultdict(list)
    for item in plan.remove:
        groups[_words(item.manifest.kind)].append(item.freed_bytes)
    for item in plan.leftovers:
        groups[item.what.partition(",")[0]].append(item.freed_bytes)
    table = _table("goes", "number", "frees")
    for kind, sizes in groups.items():
        table.add_row(kind, f"{len(sizes):,}", bytes_text(sum(sizes)))
    return table


def print_done(done: Collected, console: Console) -> None:
    """What went."""
    for kept in done.spared:
        console.print(f"{_name(kept.manifest)} stays: {kept.reason}")
    console.print(
        f"Removed {count_text(len(done.removed), 'artifact')} and "
        f"{count_text(len(done.leftovers), 'other file')}, {bytes_text(done.freed_bytes)}."
    )


def plain_gc(plan: Plan, done: Collected | None) -> dict[str, Any]:
    """The same as JSON values."""
    removed = plan.remove if done is None else done.removed
    leftovers = plan.leftovers if done is None else done.leftovers
    spared = [] if done is None else done.spared
    return {
        "is_dry_run": done is None,
        "freed_bytes": sum(item.freed_bytes for item in (*removed, *leftovers)),
        "removed": [
            {
                **_plain_artifact(item.manifest.kind, item.manifest.name, item.manifest.id),
                "reason": item.reason,
                "size_bytes": item.size_bytes,
                "freed_bytes": item.freed_bytes,
            }
            for item in removed
        ],
        "refs": plan.retire,
        "leftovers": [
            {"path": str(item.path), "reason": item.what, "freed_bytes": item.freed_bytes}
            for item in leftovers
        ],
        "kept": [
            {**_plain_artifact(k.manifest.kind, k.manifest.name, k.manifest.id), "reason": k.reason}
            for k in (*plan.keep, *spared)
        ],
    }


def _plain_artifact(kind: str, name: str, id_: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "id": id_}


def _table(*titles: str) -> Table:
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in titles:
        is_number = title in {"frees", "number"}
        table.add_column(title, justify="right" if is_number else "left", overflow="fold")
    return table


def _name(manifest: Any) -> str:  # noqa: ANN401 - a manifest
    return f"{manifest.name}-{manifest.id[:8]}"


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def write(content: dict[str, Any]) -> None:
    """Print JSON."""
    sys.stdout.write(json_format.dumps(content, indent=2) + "\n")
