"""Policies side by side, without a round."""

from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from pydantic import Field

from flows.forms import EvaluationChoice, Name, ProjectName, StageName
from flows.references import ProjectRefs
from flows.results import EvaluationResult
from flows.settings import project_of_run, run_settings
from recap_core.lineage.headlines import success_text
from tasks.comparison import compared
from tasks.evaluation import evaluate
from tasks.refresh import refreshing
from tasks.store import open_store
from tasks.summaries import artifact_key, label


@flow(name="evaluate-only", flow_run_name=lambda: f"evaluate-{project_of_run(flow_run.parameters)}")
def evaluate_only(
    project: ProjectName,
    *,
    policies: Annotated[tuple[Name, ...], Field(min_length=1, max_length=20)] = (
        "start",
        "current",
    ),
    evaluation: EvaluationChoice = EvaluationChoice(),
    refresh: tuple[StageName, ...] = (),
    settings: dict[str, Any] = {},  # noqa: B006 - Prefect shows it, nobody changes it
) -> EvaluationResult:
    """Try policies in simulation, all on the same seeds, and compare each with the first.

    The table is an artifact of the run. No ref moves.

    Args:
        project: Whose settings and refs are used: project/robot.
        policies: By readable name: start, current, candidate, round-3-policy, any ref, name-id8.
        evaluation: How thoroughly they are tried.
        refresh: Stages that run anew although their result is there.
        settings: Any other setting, in the shape of recap.yaml; wins over the fields above.
    """
    config = run_settings(project, evaluation, settings=settings)
    refs = ProjectRefs(open_store(), config)
    chosen = [refs.policy(name) for name in policies]  # all, before the first is tried
    with refreshing(refresh):
        found = tuple(
            evaluate(policy, config.iteration.evaluation, config.runtime.collect, name=policy.name)
            for policy in chosen
        )
    result = EvaluationResult(policies=tuple(chosen), evaluations=found)
    create_markdown_artifact(
        comparison_table(policies, result),
        key=artifact_key(f"evaluation-{config.project}-{config.robot}"),
        description=f"{', '.join(policies)} on {config.iteration.evaluation.num_episodes} episodes",
    )
    return result


def comparison_table(names: tuple[str, ...], result: EvaluationResult) -> str:
    """Markdown: success of each policy, and its difference from the first on the same seeds."""
    first = result.evaluations[0]
    lines = [
        f"# {' and '.join(names)}",
        "",
        f"| policy | success [95 %] | difference from {names[0]} [95 %] |",
        "|---|---|---|",
    ]
    for name, policy, one in zip(names, result.policies, result.evaluations, strict=True):
        difference = "" if one == first else compared(one, first)
        lines.append(f"| {name}: `{label(policy)}` | {success_text(one)} | {difference} |")
    lines += ["", "Differences are paired: every policy met the same scenes."]
    return "\n".join(lines)
