"""What a stage did, as a Prefect artifact that people read."""

import json
import re
from collections.abc import Iterable, Sequence

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import task_run

from recap_core.lineage.artifacts import (
    AnyDataset,
    Artifact,
    Evaluation,
    Iteration,
    Labels,
    NormStats,
    OfflineCheck,
    PolicyCheckpoint,
    Recording,
    ValueCheckpoint,
    Values,
)
from recap_core.lineage.headlines import success_text
from recap_core.lineage.manifest import Manifest
from tasks.store import open_store

_ROUND = re.compile(r"round-\d+")
_NOT_A_KEY = re.compile(r"[^a-z0-9]+")


def summarized[A: Artifact](artifact: A) -> A:
    """Leave a summary of ``artifact`` with the running task, and pass it on."""
    store = open_store()
    manifest = store.manifest(artifact)
    parents = [(parent.role, store.get(parent.id)) for parent in manifest.parents]
    create_markdown_artifact(
        summary(artifact, manifest, parents),
        key=summary_key(task_run.task_name or manifest.stage, artifact.name),
        description=f"{label(artifact)}: {headline(artifact)}",
    )
    return artifact


def summary(artifact: Artifact, manifest: Manifest, parents: Iterable[tuple[str, Artifact]]) -> str:
    """Markdown: what went in, what came out, and the settings that are no defaults."""
    took_s = (manifest.finished_at - manifest.started_at).total_seconds()
    facts = [(name, _text(value)) for name, value in manifest.details.items()]
    numbers = [(name, _text(value)) for name, value in manifest.metrics.items()]
    made_from = [(role, f"{label(parent)}: {headline(parent)}") for role, parent in parents]
    origin = (
        f"{manifest.kind} `{label(artifact)}`, made in {took_s:.1f} s on {manifest.host} "
        f"by {manifest.stage} v{manifest.stage_version}, recap {manifest.code_version}"
    )
    parts = [
        f"**{headline(artifact)}**",
        origin,
        table(("made from", ""), made_from),
        table(("result", ""), facts),
        table(("metric", ""), numbers),
        table(("setting", ""), list(_flat(manifest.config))),
    ]
    return "\n\n".join(part for part in parts if part)


def headline(artifact: Artifact) -> str:  # noqa: C901 - one case per kind
    """The one line about an artifact that people want to see first."""
    match artifact:
        case Recording():
            text = (
                f"{artifact.num_episodes} episodes, {artifact.num_successes} successful, "
                f"{artifact.num_frames} frames of which {artifact.num_intervention_frames} by hand"
            )
        case AnyDataset():
            text = f"{artifact.num_episodes} episodes, {artifact.num_frames} frames"
        case ValueCheckpoint():
            health = "healthy" if artifact.healthy else "NOT healthy"
            health = "imported" if artifact.source is not None else health
            text = f"{artifact.num_params:,} parameters, {artifact.num_steps} steps, {health}"
            if artifact.stopped_step is not None:
                text += f", stopped early after step {artifact.stopped_step}"
        case PolicyCheckpoint():
            text = f"{artifact.num_params:,} parameters, {artifact.num_steps} steps"
        case Labels():
            text = (
                f"{artifact.num_positive} positive, {artifact.num_negative} negative, "
                f"{artifact.num_none} none; "
                f"{artifact.autonomous_positive_share:.1%} of autonomous frames positive"
            )
        case Evaluation():
            text = success_text(artifact)
        case OfflineCheck():
            text = check_text(artifact)
        case Iteration():
            text = f"round {artifact.round_index} of {artifact.project}: {artifact.verdict}"
        case Values() | NormStats():
            text = f"{artifact.num_frames} frames"
        case _:
            text = artifact.kind
    return text


def check_text(check: OfflineCheck) -> str:
    """``failed range; 384 frames, seen in training``."""
    checks = f"failed {', '.join(check.failed)}" if check.failed else "all checks passed"
    seen = ", seen in training" if check.seen_in_training else ""
    return f"{checks}; {check.num_frames} frames{seen}"


def health_reasons(value_model: ValueCheckpoint) -> list[str]:
    """Why a value model did not pass its health gate; empty if it did."""
    from recap_core.stages.train_value import HEALTH_FILE

    path = open_store().path(value_model) / HEALTH_FILE
    if value_model.source is not None:
        return ["imported weights, never judged on held-out episodes"]
    return list(json.loads(path.read_text(encoding="utf-8"))["reasons"])


def label(artifact: Artifact) -> str:
    """``<name>-<id8>``, as the artifact's directory is called."""
    return f"{artifact.name}-{artifact.id[:8]}"


def table(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    """A markdown table of two columns; empty without rows."""
    return rows_table(head, rows)


def rows_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table; empty without rows."""
    if not rows:
        return ""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def summary_key(stage: str, name: str) -> str:
    """The key of a stage's summaries: the same in every round, so that its versions are the rounds.

    ``train-policy`` and ``round-3`` give ``train-policy-round``.
    """
    return artifact_key(f"{stage}-{_ROUND.sub('round', name)}")


def artifact_key(text: str) -> str:
    """``text`` as a Prefect artifact key: lower-case letters, digits and dashes."""
    return _NOT_A_KEY.sub("-", text.lower()).strip("-")


def _flat(config: dict[str, object], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "none"
    return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
