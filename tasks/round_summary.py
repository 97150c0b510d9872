"""A finished round as markdown: the decision, scores, what changed, and where it came from.

Both of Prefect's UIs render tables, lists, code, links, ``<details>`` and images. The one that is
served by default shows mermaid as its source (V2 draws it) and backticks inside of a link as they
are; both drop inline SVG, scripts and styles. So pictures are on the pages that are linked.
"""

from collections.abc import Sequence

from recap_core.config.environment import pages_url
from recap_core.config.gate import GateDecision, TaskComparison
from recap_core.errors import RecapError
from recap_core.lineage.ancestry import lineage_graph
from recap_core.lineage.artifacts import Artifact, Evaluation, Iteration, ValueCheckpoint
from recap_core.lineage.headlines import success_text
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.rendering import render_text
from recap_core.lineage.snapshot import Snapshot
from recap_core.stages.diff_content import LineageDiff
from recap_core.stages.lineage_diff import diff_lineage
from tasks.summaries import headline, health_reasons, label, rows_table, table

VERDICTS = {
    "promoted": "promoted to `current`",
    "candidate": "a candidate: a person decides",
    "kept": "not promoted: the old one stays",
}
SCORES = {
    "before": "starting policy",
    "current": "current policy",
    "control": "control: demonstrations only",
    "after": "**new policy**",
}
"""Evaluations of a round by role, in reading order."""
PARTS = (
    "recordings", "rollouts", "merged", "value_model", "values", "labels", "copy", "relabeled",
    "policy", "offline", "report",
)  # fmt: skip
"""Roles of what a round made, in the order in which it made it."""
MAX_SETTINGS = 15
MAX_EXAMPLES = 3
FOLD = 4


def round_summary(artifact: Iteration, snapshot: Snapshot) -> str:
    """Markdown of one round."""
    record = IterationRecord(artifact, snapshot.manifests[artifact.id])
    decision = record.record(snapshot.store).decision
    policy = snapshot.artifact(record.id("policy"))
    parts = [
        f"# Round {artifact.round_index} of {artifact.project} on {artifact.robot}",
        _decided(decision, policy),
        _health(snapshot.artifact(record.id("value_model")), record),
        _links(record),
        _scores(record, snapshot),
        _tasks(decision.tasks),
        _changed(record, snapshot),
        f"## What the round made\n\n{_made(record, snapshot)}",
        _origin(policy, snapshot),
    ]
    return "\n\n".join(part for part in parts if part)


def round_line(artifact: Iteration, snapshot: Snapshot) -> str:
    """One line: ``Round 3: 66.7 % [59, 74], 100 of 150; promoted``."""
    record = IterationRecord(artifact, snapshot.manifests[artifact.id])
    after = snapshot.artifact(record.id("after"))
    told = success_text(after) if isinstance(after, Evaluation) else "not evaluated"
    return f"Round {artifact.round_index}: {told}; {artifact.verdict}"


def page_link(artifact: Artifact) -> str | None:
    """Address of an artifact's page; None if no pages are served."""
    base = pages_url()
    if base is None:
        return None
    directory = {"iteration": "iterations", "report": "reports"}.get(artifact.kind, "artifacts")
    return f"{base}/{directory}/{artifact.id}{'/' if directory == 'reports' else ''}"


def project_link(project: str) -> str | None:
    """Address of the page over all rounds of ``project/robot``; None if no pages are served."""
    base = pages_url()
    return f"{base}/projects/{project}/" if base else None


def _decided(decision: GateDecision, policy: Artifact | None) -> str:
    name = f"New policy {_linked(policy)}" if policy else "The new policy"
    said = "\n".join(f"- {reason}" for reason in decision.reasons)
    return f"{name}: **{VERDICTS[decision.verdict]}**." + (f"\n\n{said}" if said else "")


def _health(value_model: Artifact | None, record: IterationRecord) -> str:
    if not isinstance(value_model, ValueCheckpoint) or record.id("labels") is not None:
        return ""
    reasons = "; ".join(health_reasons(value_model))
    return f"The value model was **not healthy** ({reasons}): the collector's labels were used."


def _links(record: IterationRecord) -> str:
    base = pages_url()
    if base is None:
        return ""
    links = [f"[all of this round]({base}/iterations/{record.artifact.id})"]
    report = record.id("report")
    if report is not None:
        links.insert(0, f"[report with plots and pictures]({base}/reports/{report}/)")
    rounds = project_link(f"{record.artifact.project}/{record.artifact.robot}")
    return " · ".join([*links, f"[all rounds]({rounds})"])


def _scores(record: IterationRecord, snapshot: Snapshot) -> str:
    rows: list[tuple[str, str]] = []
    seen: set[str] = set()
    for role, name in SCORES.items():
        evaluation = snapshot.artifact(record.id(role))
        if isinstance(evaluation, Evaluation) and evaluation.id not in seen:
            seen.add(evaluation.id)
            told = success_text(evaluation)
            rows.append((name, f"**{told}**" if role == "after" else told))
    return table(("policy", "success [95 %]"), rows)


def _tasks(tasks: Sequence[TaskComparison]) -> str:
    if len(tasks) < 2:
        return ""
    rows = [
        (
            task.task,
            str(task.num_episodes),
            _percent(task.current_rate),
            _percent(task.new_rate),
            f"[{100 * task.low:+.0f}, {100 * task.high:+.0f}]"
            if task.low is not None and task.high is not None
            else "-",
        )
        for task in tasks
    ]
    return rows_table(("task", "episodes", "current", "new", "difference [95 %]"), rows)


def _changed(record: IterationRecord, snapshot: Snapshot) -> str:
    """What is not as in the round before."""
    earlier = [
        other
        for other in snapshot.rounds
        if (other.artifact.project, other.artifact.robot)
        == (record.artifact.project, record.artifact.robot)
        and other.artifact.round_index < record.artifact.round_index
    ]
    if not earlier:
        return ""
    before = earlier[-1].artifact
    title = f"## What changed since round {before.round_index}"
    try:
        diff = diff_lineage(snapshot, before, record.artifact)
    except RecapError as error:  # parts of the round before may be gone
        return f"{title}\n\nIt cannot be compared: {error}"
    lines = [f"- {line}" for line in (*_experience(diff), *_labels(diff), *_models(diff))]
    shown = diff.settings[:MAX_SETTINGS]
    lines += [f"- setting `{change.key}`: {change.text()}" for change in shown]
    if len(diff.settings) > MAX_SETTINGS:
        lines.append(f"- and {len(diff.settings) - MAX_SETTINGS} more settings")
    lines += [f"- {note}" for note in diff.notes]
    hint = f"`recap lineage diff {before.id[:8]} {record.artifact.id[:8]}` shows all of it."
    told = "\n".join(lines).replace("->", "→")
    return "\n".join([title, "", told, "", hint])


def _experience(diff: LineageDiff) -> list[str]:
    lines: list[str] = []
    for word, recordings in (
        ("added", diff.recordings_added),
        ("no longer there", diff.recordings_removed),
    ):
        if recordings:
            num_episodes = sum(r.num_episodes for r in recordings)
            num_successes = sum(r.num_successes for r in recordings)
            frames = sum(r.num_frames for r in recordings)
            by_hand = sum(r.num_intervention_frames for r in recordings) / frames
            lines.append(
                f"{num_episodes} episodes {word} ({num_successes} successful, {by_hand:.0%} of "
                f"the frames by hand)"
            )
    old, new = diff.annotations.old, diff.annotations.new
    if new is not None and (old is None or old.of.id != new.of.id):
        lines.append(
            f"corrections: {new.num_changed} outcomes changed, {new.num_excluded} episodes left out"
        )
    return lines


def _labels(diff: LineageDiff) -> list[str]:
    flips = diff.flips
    if flips is None:
        return []
    lines = [
        f"labels of {task.task}: of {task.frames:,} frames in both, {task.gained} became positive "
        f"and {task.lost} no longer are ({task.positive_before:.0%} -> {task.positive_after:.0%})"
        for task in flips.tasks
    ]
    lines += [
        f"for instance {example.episode} of `{example.recording.label}`: "
        + ", ".join(f"{number} {name}" for name, number in example.transitions.items())
        for example in flips.examples[:MAX_EXAMPLES]
    ]
    return lines


def _models(diff: LineageDiff) -> list[str]:
    lines: list[str] = []
    old, new = diff.value_model.old, diff.value_model.new
    if old is not None and new is not None:
        numbers = [
            f"{name.replace('_', ' ')} {a:.3g} -> {b:.3g}"
            for name in ("spearman", "separation", "cross_entropy")
            if (a := old.metrics.get(name)) is not None and (b := new.metrics.get(name)) is not None
        ]
        if numbers:
            lines.append(f"value model, held out: {', '.join(numbers)}")
    if diff.difference is not None:
        lines.append(f"new policies: {diff.difference.text()} ({diff.difference.rests_on})")
    if diff.code_version.old != diff.code_version.new:
        lines.append(f"code: {diff.code_version.old} -> {diff.code_version.new}")
    lines += [f"library {change.key}: {change.text()}" for change in diff.libraries]
    return lines


def _made(record: IterationRecord, snapshot: Snapshot) -> str:
    rows: list[tuple[str, ...]] = []
    for role in PARTS:
        for id_ in record.ids(role):
            artifact = snapshot.artifact(id_)
            if artifact is not None:
                manifest = snapshot.manifests[id_]
                seconds = (manifest.finished_at - manifest.started_at).total_seconds()
                rows.append(
                    (
                        role.replace("_", " "),
                        _linked(artifact),
                        f"{seconds:.1f}",
                        headline(artifact),
                    )
                )
    return rows_table(("part", "artifact", "seconds", "what it is"), rows)


def _origin(policy: Artifact | None, snapshot: Snapshot) -> str:
    if policy is None:
        return ""
    tree = render_text(
        lineage_graph(snapshot, policy), root=policy.id, fold=FOLD, ends=("recording",)
    )
    return f"## What the new policy was made from\n\n```text\n{tree}\n```"


def _linked(artifact: Artifact) -> str:
    link = page_link(artifact)
    return f"[{label(artifact)}]({link})" if link else f"`{label(artifact)}`"


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0%}"
