"""``deployments/prefect.yaml``, deployed by ``prefect deploy`` on a real server."""

from importlib import import_module

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import get_current_settings

from deployments.deploying import deploy, prefect_file
from deployments.environment import deployment_name
from deployments.installation import Installation, install
from deployments.up import LONG_FLOWS, SHORT_FLOWS

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PROJECT = "lab/left-arm"
NAME = deployment_name(PROJECT)
OF_PROJECT = {
    "bootstrap", "recap-iteration", "recap-loop", "stage3", "relabel-only", "evaluate-only",
    "ingest", "nightly",
}  # fmt: skip


def test_the_file_names_flows_and_parameters_that_exist() -> None:
    """All that ``recap up`` serves, and the accelerator stage; found without a server."""
    flows: set[str] = set()
    for one in prefect_file({})["deployments"]:
        module, _, name = one["entrypoint"].rpartition(".")
        flow = getattr(import_module(module), name)
        assert isinstance(flow, Flow)
        assert set(one.get("parameters", {})) <= set(flow.parameters.properties)
        flows.add(flow.name)

    served = {flow.name for flow in (*LONG_FLOWS, *SHORT_FLOWS)}
    assert flows == served | {"accelerator-stage"} == OF_PROJECT | {"accelerator-stage"}


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
