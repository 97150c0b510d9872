"""One round of RECAP, started from a form."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.bootstrap import first_policy
from flows.forms import (
    CollectChoice,
    LabelChoice,
    ProjectName,
    Promotion,
    RoundChoice,
    StageName,
    TrainingChoice,
    promotion_changes,
)
from flows.people import wait_for_episodes
from flows.references import ProjectRefs, pretrained_value_model
from flows.results import IterationResult
from flows.rounds import run_round
from flows.settings import project_of_run, run_settings
from recap_core.config.flows import ProjectConfig
from recap_core.errors import DataError
from recap_core.lineage.project_files import project_name
from tasks.refresh import refreshing
from tasks.store import open_store


def _run_name() -> str:
    parameters = flow_run.parameters
    chosen = parameters.get("this_round")
    index = chosen.get("index") if isinstance(chosen, dict) else getattr(chosen, "index", None)
    return f"{project_of_run(parameters)}-round-{index or 'next'}"


@flow(
    name="recap-iteration",
    flow_run_name=_run_name,
    persist_result=True,  # whoever submitted the run reads it
    result_serializer="json",
)
def recap_iteration(  # noqa: PLR0913 - one parameter per group of the form
    project: ProjectName,
    *,
    this_round: RoundChoice = RoundChoice(),
    collect: CollectChoice = CollectChoice(),
    labels: LabelChoice = LabelChoice(),
    training: TrainingChoice = TrainingChoice(),
    promotion: Promotion = "as the project says",
    refresh: tuple[StageName, ...] = (),
    settings: dict[str, Any] = {},  # noqa: B006 - Prefect shows it, nobody changes it
) -> IterationResult:
    """Collect with the current policy, learn what was good, and improve the starting policy.

    Whatever is left empty is as the project's settings say. A round that failed or was killed
    changes no ref; running it again goes on where it stopped. Without a starting policy yet, the
    project's bootstrap runs first.

    Args:
        project: Whose settings and refs are used: project/robot.
        this_round: Which round, and what it starts from.
        collect: What the simulator records.
        labels: The rule that says which frames were good.
        training: How long the models learn.
        promotion: When the new policy becomes the current one.
        refresh: Stages that run anew although their result is there.
        settings: Any other setting, in the shape of recap.yaml; wins over the fields above.
    """
    config = run_settings(
        project,
        this_round, collect, labels, training, promotion_changes(promotion),
        settings=settings,
    )  # fmt: skip
    refs = ProjectRefs(open_store(), config)
    with refreshing(refresh):
        if not refs.is_bootstrapped():
            pretrained_value_model(open_store(), config)  # found before anything is recorded
            first_policy(config)
        k = this_round.index or refs.next_round()
        if warning := refs.out_of_turn(k):
            get_run_logger().warning("%s", warning)
        _wait_for_episodes(config, refs, this_round, k)
        inputs = refs.round_inputs(k, start=this_round.start, recordings=this_round.recordings)
        return run_round(config, k, inputs)


def _wait_for_episodes(
    config: ProjectConfig, refs: ProjectRefs, chosen: RoundChoice, round_index: int
) -> None:
    """Suspend the run until enough is recorded, where a form of the UI asks for it.

    Raises:
        DataError: If a person gave up waiting.
    """
    needed = chosen.wait_for_episodes
    is_recorded = config.iteration.episodes == "simulation" or bool(chosen.recordings)
    if needed is None or is_recorded or refs.finished_round(round_index) is not None:
        return
    name = project_name(config)
    found = wait_for_episodes(name, needed, count_new=refs.num_new_episodes)
    if found.outcome == "give_up":
        raise DataError(
            f"round {round_index} of {name} was given up by a person: {found.num_episodes} of "
            f"{needed} new episodes had come. They wait for the next round"
        )
    if found.outcome != "enough":
        get_run_logger().warning(
            "The round begins with %d of %d new episodes (%s).",
            found.num_episodes,
            needed,
            found.outcome.replace("_", " "),
        )
