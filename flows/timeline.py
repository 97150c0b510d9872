"""The project's time line in the Prefect UI: one artifact key, one version per round."""

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.logging import get_run_logger

from flows.results import IterationResult
<<<<<<< HEAD
from recap_core.lineage.ancestry import lineage_graph
from recap_core.lineage.artifacts import Artifact, Evaluation, ValueCheckpoint
from recap_core.lineage.rendering import render_text
from tasks.planning import is_planning
=======
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.snapshot import Snapshot
from tasks.round_summary import page_link, round_line, round_summary
>>>>>>> part-e
from tasks.store import open_store
from tasks.summaries import artifact_key, health_reasons, label, table


def record_round(result: IterationResult) -> None:
<<<<<<< HEAD
    """Add a version to the project's time line: scores, decision and lineage of a round."""
    if is_planning():
        return
    create_markdown_artifact(
        round_summary(result),
        key=artifact_key(f"iteration-{result.project}-{result.robot}"),
        description=f"Round {result.round_index}: {_score(result.judgement.after)}",
    )


def round_summary(result: IterationResult) -> str:
    """Markdown of one round."""
    judgement, learning = result.judgement, result.learning
    scores = [("starting policy", _score(judgement.before))]
    if judgement.collector != judgement.before:
        scores.append(("current policy", _score(judgement.collector)))
    if judgement.control is not None:
        scores.append(("control: demonstrations only", _score(judgement.control)))
    scores.append(("**new policy**", f"**{_score(judgement.after)}**"))
    decision = {
        "promoted": "promoted to `current`",
        "candidate": "a `candidate`: a person promotes it or leaves it",
        "kept": "not promoted: the old one stays",
    }[result.decision.verdict]
    made = [(artifact.kind, artifact) for artifact in _lineage(result)]
    parts = [
        f"# Round {result.round_index} of {result.project} on {result.robot}",
        f"New policy `{label(learning.policy)}`: **{decision}**.",
        table(("policy", "success [95 %]"), scores),
        table(("artifact", ""), [(kind, f"`{label(a)}` {headline(a)}") for kind, a in made]),
        f"## What the new policy was made from\n\n```text\n{_ancestry(learning.policy)}\n```",
    ]
    if learning.relabeling is None:
        parts.insert(2, "The value model was **not healthy**: the collector's labels were used.")
    return "\n\n".join(parts)
=======
    """Add a version to the project's time line, and links to the round's pages if there are any.

    The keys are the project's, so that the versions of an artifact are the rounds.
    """
    snapshot, name = Snapshot(open_store()), f"{result.project}-{result.robot}"
    line = round_line(result.record, snapshot)
    create_markdown_artifact(
        round_summary(result.record, snapshot),
        key=artifact_key(f"iteration-{name}"),
        description=line,
    )
    for key, artifact in (("report", result.report), ("round", result.record)):
        link = page_link(artifact)
        if link is not None:
            create_link_artifact(
                link,
                key=artifact_key(f"{key}-{name}"),
                link_text=f"Round {result.round_index}: {key}",
                description=line,
            )
>>>>>>> part-e


def warn_of_unhealthy_value_model(value_model: ValueCheckpoint, then: str) -> None:
    """Say loudly that a value model may not label, and what happens instead."""
    if is_planning():
        return
    metrics = open_store().manifest(value_model).metrics
    consequence = (
        "The round falls back to the collector's labels (stage 3)."
        if then == "stage3"
        else "The round stops."
    )
    reasons = health_reasons(value_model)
    get_run_logger().warning(
        "Value model %s is not healthy: %s. %s", label(value_model), "; ".join(reasons), consequence
    )
    rows = [(name, "-" if value is None else f"{value:.4g}") for name, value in metrics.items()]
    create_markdown_artifact(
        f"# Value model `{label(value_model)}` is not healthy\n\n"
        + "\n".join(f"- {reason}" for reason in reasons)
        + f"\n\n{consequence}\n\n{table(('metric', ''), rows)}",
        key="unhealthy-value-model",
        description=consequence,
    )
<<<<<<< HEAD


def _score(evaluation: Evaluation | None) -> str:
    return "not evaluated" if evaluation is None else success_text(evaluation)


def _lineage(result: IterationResult) -> list[Artifact]:
    relabeling = result.learning.relabeling
    chain: list[Artifact] = [
        result.inputs.collector,
        *result.experience.recordings,
        *result.experience.rollouts,
        result.experience.merged,
        result.learning.value_model,
    ]
    if relabeling is not None:
        chain += [relabeling.values, relabeling.labels, relabeling.copy_of_merged]
        chain.append(relabeling.dataset)
    return [*chain, result.learning.policy, result.report]


def _ancestry(artifact: Artifact) -> str:
    """A tree as text: Prefect's pages show mermaid charts as their source."""
    return render_text(lineage_graph(open_store(), artifact), root=artifact.id)
=======
>>>>>>> part-e
