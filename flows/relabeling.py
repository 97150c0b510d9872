"""Stage 5 for a whole dataset, in a round or on its own."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.forms import LabelChoice, ProjectName, RelabelChoice, StageName
from flows.references import ProjectRefs
from flows.results import Relabeling, RelabelResult
from flows.settings import project_of_run, run_settings
from flows.timeline import warn_of_unhealthy_value_model
from flows.values import values_of
from recap_core.config.flows import ProjectConfig
from recap_core.errors import ArtifactNotFoundError, UnhealthyValueModelError
from recap_core.lineage.artifacts import Dataset, ValueCheckpoint
from tasks.datasets import copy
from tasks.labelling import label, relabel
from tasks.refresh import refreshing
from tasks.store import open_store
from tasks.summaries import health_reasons


@flow(name="relabel-only", flow_run_name=lambda: f"relabel-{project_of_run(flow_run.parameters)}")
def relabel_only(
    project: ProjectName,
    *,
    data: RelabelChoice = RelabelChoice(),
    labels: LabelChoice = LabelChoice(),
    refresh: tuple[StageName, ...] = (),
    settings: dict[str, Any] = {},  # noqa: B006 - Prefect shows it, nobody changes it
) -> RelabelResult:
    """Label the newest data with the newest value model, under another rule; nothing is trained.

    The result is the project's ref ``relabeled``. The dataset that it was copied from stays as it
    is, and so does every round.

    Args:
        project: Whose settings and refs are used: project/robot.
        data: Which data, and whose judgement.
        labels: The rule.
        refresh: Stages that run anew although their result is there.
        settings: Any other setting, in the shape of recap.yaml; wins over the fields above.
    """
    config = run_settings(project, labels, settings=settings)
    refs = ProjectRefs(open_store(), config)
    merged = _of_newest_round(refs, "merged", data.dataset, Dataset, "dataset")
    model = _of_newest_round(refs, "value_model", data.value_model, ValueCheckpoint, "value model")
    if not model.healthy:
        # Who names a model has looked at it; imported weights, for one, were never judged.
        warn_of_unhealthy_value_model(model, "relabel" if data.value_model else "stop")
        if data.value_model is None:
            raise UnhealthyValueModelError(
                f"value model {model.name}-{model.id[:8]} did not pass its health gate: "
                f"{'; '.join(health_reasons(model))}. Name a value model to label with it anyway"
            )
    with refreshing(refresh):
        relabeling = relabeled(merged, model, config, name=merged.name)
    refs.set("relabeled", relabeling.dataset)
    return RelabelResult(merged=merged, value_model=model, relabeling=relabeling)


def relabeled(
    merged: Dataset, value_model: ValueCheckpoint, config: ProjectConfig, *, name: str
) -> Relabeling:
    """Values, labels, a copy, and the labels written into it; ``merged`` stays as it is."""
    settings, inference = config.iteration, config.runtime.infer
    needed = settings.infer.for_labels(settings.label)
    values = values_of(merged, value_model, needed, inference, name=name)
    labels = label(merged, values, settings.label, name=name)
    copied = copy(merged, name=f"{name}-copy")
    dataset = relabel(copied, labels, name=f"{name}-relabeled")
    return Relabeling(values=values, labels=labels, copy_of_merged=copied, dataset=dataset)


def _of_newest_round[A: (Dataset, ValueCheckpoint)](
    refs: ProjectRefs, role: str, name: str | None, kind: type[A], what: str
) -> A:
    """What a person named, or the part of the newest finished round."""
    if name is not None:
        return refs.named(name, kind, what)
    for record in reversed(refs.records()):
        id_ = record.id(role)
        if id_ is not None:
            return refs.named(id_, kind, what)
    raise ArtifactNotFoundError(
        f"no round of the project is finished, so there is no newest {what}. Run a round first, or "
        f"name a {what}"
    )
