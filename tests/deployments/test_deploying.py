"""``deployments/prefect.yaml``, deployed by ``prefect deploy`` on a real server."""

import json
import re
from importlib.metadata import version
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from deployments.deploying import deploy, flows_of, prefect_file
from deployments.environment import deployment_name
from deployments.installation import Installation, install
from deployments.stale_deployments import server_state
from deployments.up import LONG_FLOWS, SHORT_FLOWS, deployments
from recap_core.config.presets import plumbing_project

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("own_garbage"),
]
PROJECT = "lab/left-arm"
NAME = deployment_name(PROJECT)
OF_PROJECT = {
    "bootstrap", "recap-iteration", "recap-loop", "stage3", "relabel-only", "evaluate-only",
    "ingest", "nightly",
}  # fmt: skip


def test_the_file_names_flows_and_parameters_that_exist() -> None:
    """All that ``recap up`` serves, and the accelerator stage; found without a server."""
    content = prefect_file({})
    flows = flows_of(content)
    for one, flow in zip(content["deployments"], flows.values(), strict=True):
        assert set(one.get("parameters", {})) <= set(flow.parameters.properties)

    served = {flow.name for flow in (*LONG_FLOWS, *SHORT_FLOWS)}
    assert (
        {flow.name for flow in flows.values()}
        == served | {"accelerator-stage"}
        == OF_PROJECT | {"accelerator-stage"}
    )


@pytest.fixture(scope="module")
def deployed(prefect_api: None) -> dict[str, DeploymentResponse]:
    """Deployments of a project by the names of their flows."""
    del prefect_api
    install(Installation())
    definitions = {"project": PROJECT, "deployment": NAME, "timezone": "Europe/Berlin"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", str(get_current_settings().api.url))
        deploy(prefect_file(definitions))
    flows = [*(f"{flow}/{NAME}" for flow in OF_PROJECT), "accelerator-stage/gpu"]
    with get_client(sync_client=True) as client:
        return {flow.partition("/")[0]: client.read_deployment_by_name(flow) for flow in flows}


def test_flows_are_placed_by_who_waits_for_them(deployed: dict[str, DeploymentResponse]) -> None:
    """People's runs before the night's; accelerator stages in a pool of their own."""
    placed = {flow: (one.work_pool_name, one.work_queue_name) for flow, one in deployed.items()}

    assert placed.pop("accelerator-stage") == ("gpu", "default")
    assert placed.pop("nightly") == ("cpu", "night")
    assert set(placed.values()) == {("cpu", "people")}


def test_workers_pull_nothing(deployed: dict[str, DeploymentResponse]) -> None:
    """They import the flow from the installed package, in whatever directory they are."""
    for one in deployed.values():
        assert not one.pull_steps
        assert one.path in (None, ".")
        assert one.entrypoint is not None
        assert one.entrypoint.startswith("flows.")


def test_the_night_has_a_clock_and_never_overlaps_itself(
    deployed: dict[str, DeploymentResponse],
) -> None:
    """Every night at two, local time; a night that is still running cancels the new one."""
    (schedule,) = deployed["nightly"].schedules

    assert isinstance(schedule.schedule, CronSchedule)
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 2 * * *", "Europe/Berlin")
    assert schedule.active
    options, limit = (
        deployed["nightly"].concurrency_options,
        deployed["nightly"].global_concurrency_limit,
    )
    assert options is not None
    assert limit is not None
    assert (options.collision_strategy, limit.limit) == (ConcurrencyLimitStrategy.CANCEL_NEW, 1)
    options = deployed["recap-iteration"].concurrency_options
    assert options is not None
    assert options.collision_strategy == ConcurrencyLimitStrategy.ENQUEUE


@pytest.mark.parametrize("flow", sorted(OF_PROJECT))
def test_a_run_needs_no_parameter(deployed: dict[str, DeploymentResponse], flow: str) -> None:
    """The project is filled in, and the server accepts that against the flow's form."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(deployed[flow].id)
        client.delete_flow_run(run.id)

    assert run.parameters["project"] == PROJECT
    assert PROJECT in run.tags


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"label": {"preset": "reference"}}, "'label' was unexpected"),
        ({"collect": {"episodes": 3}}, "field 'collect'. Failure reason: .*'episodes' was unexp"),
        ({"labels": {"positive_share": 1.5}}, "'labels.positive_share'.*greater than the maximum"),
        ({"labels": {"preset": "best"}}, "'labels.preset'.*'best' is not one of .'reference'"),
        ({"refresh": ["everything"]}, "'refresh.0.'.*'everything' is not one of .'collect'"),
    ],
)
def test_the_server_refuses_what_the_form_does_not_have(
    deployed: dict[str, DeploymentResponse], parameters: dict[str, Any], message: str
) -> None:
    """Before there is a run, with the field and the rule; from a form, the API or a schedule."""
    with (
        get_client(sync_client=True) as client,
        pytest.raises(PrefectHTTPStatusError) as refused,
    ):
        client.create_flow_run_from_deployment(
            deployed["recap-iteration"].id, parameters=parameters
        )

    assert refused.value.response.status_code == 409
    detail = json.loads(refused.value.response.text)["detail"]
    assert re.search(message, detail), detail


def test_forms_are_those_of_recap_up(deployed: dict[str, DeploymentResponse]) -> None:
    """Title, choices and limits of every field: whoever deploys it, a flow has one form."""
    for one in deployments([plumbing_project(cameras=False)]):
        assert deployed[str(one.flow_name)].parameter_openapi_schema == (
            one._parameter_openapi_schema.model_dump(exclude_unset=True)
        )
    form = deployed["recap-iteration"].parameter_openapi_schema
    assert form is not None
    share = form["definitions"]["LabelChoice"]["properties"]["positive_share"]
    assert (share["title"], share["maximum"]) == ("Share of positive frames", 1)
    assert "paper_speed" in form["definitions"]["LabelChoice"]["properties"]["preset"]["enum"]


def test_the_doctor_knows_a_deployment_that_is_not_as_it_should_be(
    deployed: dict[str, DeploymentResponse],
) -> None:
    """One with an older form, or of a project without settings; and that no worker is there."""
    one = deployed["stage3"]
    name = f"stage3/{NAME}"
    form = one.parameter_openapi_schema
    assert form is not None
    before = server_state([PROJECT])
    older = DeploymentUpdate(parameter_openapi_schema=form | {"title": "Older"})
    with get_client(sync_client=True) as client:
        client.update_deployment(one.id, older)
        try:
            after = server_state(["lab/right-arm"])
        finally:
            client.update_deployment(one.id, DeploymentUpdate(parameter_openapi_schema=form))

    mine = {f"{flow}/{NAME}" for flow in OF_PROJECT}
    assert mine <= set(before.idle)
    assert not mine & {*before.outdated, *before.orphaned, *before.missing}
    assert name in after.outdated
    assert mine <= set(after.orphaned)
    assert "stage3/lab-right-arm" in after.missing
    assert before.version == version("prefect")
