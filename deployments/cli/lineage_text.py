"""``recap lineage show`` and ``graph``: text for people, JSON for programs."""

import json as json_format
import sys
from collections.abc import Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from deployments.cli.options import Output
from recap_core.lineage.ancestry import Graph, explain, lineage_graph, part_of_graph
from recap_core.lineage.artifacts import Artifact, Evaluation, Labels
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.references import projects_named
from recap_core.lineage.rendering import render_mermaid, render_text, short_refs
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.tombstones import Tombstone

_NOT_FACTS = {
    "schema_version", "kind", "name", "config", "details", "metrics", "parents", "children",
    "libraries", "refs", "rounds", "num_files", "size_bytes", "own_bytes",
}  # fmt: skip
FOLD = 4
"""More branches in one role than this are drawn as the first and the last."""
MAX_CHILDREN = 12
ENDS = ("recording",)
"""Where experience enters: the policy that collected it has a lineage of its own."""
ROUNDS = ("iteration",)
"""Rounds are made from everything, so a tree that grows towards children leaves them out."""


def show(snapshot: Snapshot, artifact: Artifact, *, json: bool) -> None:
    """Print one artifact and what it was made from."""
    facts = explain(snapshot, artifact)
    if json:
        facts["ancestors"] = [manifest.id for manifest in snapshot.ancestors(artifact.id)]
        _print(json_format.dumps(facts, indent=2))
        return
    lines = [f"{artifact.kind} {artifact.name}-{artifact.id[:8]}"]
    lines += [f"  {name}: {value}" for name, value in facts.items() if name not in _NOT_FACTS]
    lines.append(
        f"  size: {size(facts['size_bytes'])} in {facts['num_files']} files, "
        f"{size(facts['own_bytes'])} of it shared with no other artifact"
    )
    lines += _list("refs", facts["refs"])
    lines += _list("rounds", spans(facts["rounds"]))
    for title in ("details", "metrics"):
        lines += _section(title, facts[title])
    if artifact.kind != "iteration":  # a round's settings are the whole project's
        lines += _section("config", facts["config"])
    _print("\n".join(lines))
    _print("\nmade from")
    tree = lineage_graph(snapshot, artifact)
    _print(render_text(tree, root=artifact.id, fold=FOLD, ends=ENDS))
    children = facts["children"]
    if children:
        _print("\nled to")
    for child in children[:MAX_CHILDREN]:
        _print(f"  {child['kind']} {child['name']}-{child['id'][:8]} (as {child['role']})")
    if len(children) > MAX_CHILDREN:
        _print(f"  and {len(children) - MAX_CHILDREN} more; see: recap lineage graph {artifact.id}")


def show_removed(snapshot: Snapshot, stone: Tombstone, *, json: bool) -> None:
    """Print what is known of an artifact that was removed, and what it was made from."""
    manifest = stone.manifest
    facts: dict[str, Any] = manifest.model_dump(mode="json") | {
        "removed_at": stone.removed_at.isoformat(), "removed_because": stone.reason
    }  # fmt: skip
    if json:
        facts["ancestors"] = [ancestor.id for ancestor in snapshot.ancestors(manifest.id)]
        _print(json_format.dumps(facts, indent=2))
        return
    lines = [f"{manifest.kind} {manifest.name}-{manifest.id[:8]}, removed"]
    lines += [f"  {name}: {value}" for name, value in facts.items() if name not in _NOT_FACTS]
    for title in ("details", "metrics", "config"):
        lines += _section(title, facts[title])
    _print("\n".join(lines))
    _print("\nmade from")
    tree = lineage_graph(snapshot, manifest.artifact())
    _print(render_text(tree, root=manifest.id, fold=FOLD, ends=ENDS))
    _print("\nled to")
    _print(render_text(tree, root=manifest.id, towards="children", fold=FOLD, without=ROUNDS))


def graph(
    snapshot: Snapshot,
    artifact: Artifact | None,
    *,
    project: str | None = None,
    mermaid: bool,
    json: bool,
) -> None:
    """Print the lineage around one artifact, or of the whole store or one project of it."""
    found = lineage_graph(snapshot, artifact)
    if artifact is None and project is not None:
        found = part_of_graph(found, projects_named(snapshot.store, project))
    if json:
        _print(json_format.dumps(found.model_dump(mode="json"), indent=2))
    elif mermaid:
        _print(render_mermaid(found))
    elif artifact is None:
        none = (
            f"no artifacts in {snapshot.store.home}; make some with recap demo, or set RECAP_HOME"
        )
        _print(render_text(found, fold=FOLD) or none)
    else:
        _print("made from")
        _print(render_text(found, root=artifact.id, fold=FOLD, ends=ENDS))
        _print("\nled to")
        _print(render_text(found, root=artifact.id, towards="children", fold=FOLD, without=ROUNDS))


def _led_to(found: Graph, artifact: Artifact) -> str:
    return render_text(
        found, root=artifact.id, towards="children", fold=FOLD, without=ROUNDS, ends=ENDS
    )


def rounds(snapshot: Snapshot, project: str | None) -> None:
    """Print every project's rounds, and what its refs point to."""
    console = Output(json=False, verbose=False).console
    names = None if project is None else projects_named(snapshot.store, project)
    records = [r for r in snapshot.rounds if names is None or _robot(r) in names]
    if not records:
        graph(snapshot, None, project=project, mermaid=False, json=False)
    for robot in dict.fromkeys(_robot(record) for record in records):
        _print_project(robot, [r for r in records if _robot(r) == robot], snapshot, console)


def size(num_bytes: float) -> str:
    """``1.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def spans(rounds: Sequence[str]) -> list[str]:
    """``p/r/round-3``, ``p/r/round-4``, ``p/r/round-5`` as ``p/r/round-3 to 5``."""
    numbers: dict[str, list[int]] = {}
    for name in rounds:
        prefix, _, number = name.rpartition("-")
        numbers.setdefault(prefix, []).append(int(number))
    return [span for prefix, found in numbers.items() for span in _spans(prefix, found)]


def _spans(prefix: str, numbers: list[int]) -> list[str]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    ends = [f" to {run[-1]}" if len(run) > 1 else "" for run in runs]
    return [f"{prefix}-{run[0]}{end}" for run, end in zip(runs, ends, strict=True)]


def _robot(record: IterationRecord) -> str:
    return f"{record.artifact.project}/{record.artifact.robot}"


def _print_project(
    robot: str, records: list[IterationRecord], snapshot: Snapshot, console: Console
) -> None:
    table = Table(title=robot, title_justify="left", box=None, pad_edge=False)
    for name in ("round", "finished", "new policy", "success [95 %]", "labels +", "verdict", ""):
        table.add_column(name, justify="right" if name in {"round", "labels +"} else "left")
    for record in records:
        policy = snapshot.manifests.get(record.id("policy") or "")
        refs = [r for r in snapshot.refs.get(policy.id, ()) if "round-" not in r] if policy else []
        mine = [ref.removeprefix(f"{robot}/") for ref in refs]
        table.add_row(
            str(record.artifact.round_index),
            f"{record.manifest.finished_at:%Y-%m-%d %H:%M}",
            f"{policy.name}-{policy.id[:8]}" if policy else "removed",
            _success(snapshot.artifact(record.id("after"))),
            _share(snapshot.artifact(record.id("labels"))),
            record.artifact.verdict,
            f"<- {short_refs(mine)}" if mine else "",
        )
    console.print(table)
    console.print()


def _success(evaluation: Artifact | None) -> str:
    if not isinstance(evaluation, Evaluation):
        return "-"
    rate = evaluation.num_successes / evaluation.num_episodes
    low, high = evaluation.success_low, evaluation.success_high
    return f"{100 * rate:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _share(labels: Artifact | None) -> str:
    return f"{labels.autonomous_positive_share:.0%}" if isinstance(labels, Labels) else "-"


def _list(title: str, content: Sequence[str]) -> list[str]:
    return [f"  {title}: {', '.join(content)}"] if content else []


def _section(title: str, content: dict[str, object]) -> list[str]:
    if not content:
        return []
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=96)
    return [f"  {title}:", *(f"    {line}" for line in text.splitlines())]


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
