"""Job templates of the work pools, and the image that they start.

Docker and Kubernetes are not here: their templates are checked for structure, and what Prefect
itself can fill in is filled in by Prefect. docs/installation.md says what was tried by hand.
"""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from prefect.client.orchestration import PrefectClient
from prefect.workers.base import BaseJobConfiguration
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker
from pydantic import ConfigDict

from deployments.installation import Infrastructure, PoolName, base_job_template

ROOT = Path(__file__).parents[2]
PLACEHOLDER = re.compile(r"{{\s*([\w.]+)\s*}}")
NOBODY = PrefectClient("http://127.0.0.1:9/api")
"""Asked only where a template names blocks; then the test fails."""
INFRASTRUCTURES = get_args(Infrastructure.__value__)
pytestmark = [
    pytest.mark.parametrize("pool", ["cpu", "gpu"]),
    pytest.mark.parametrize("infrastructure", INFRASTRUCTURES),
]


class Job(BaseJobConfiguration):
    """Of any infrastructure."""

    model_config = ConfigDict(extra="allow")


def leaves(node: object) -> Iterator[Any]:
    """Every scalar of nested JSON."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else None
    if children is None:
        yield node
        return
    for child in children:
        yield from leaves(child)


def filled(template: dict, **values: object) -> dict[str, Any]:
    """The job of a template with its defaults, as Prefect's base worker fills it in."""
    return asyncio.run(
        Job.from_template_and_values(
            template, {"name": "run", "command": "x", **values}, client=NOBODY
        )
    ).model_dump()


def test_a_template_is_valid(pool: PoolName, infrastructure: Infrastructure) -> None:
    """Its variables are a JSON schema, their defaults obey it, and every placeholder is one."""
    template = base_job_template(pool, infrastructure)
    variables = template["variables"]

    Draft202012Validator.check_schema(variables)
    properties = variables["properties"]
    defaults = {name: one["default"] for name, one in properties.items() if "default" in one}
    Draft202012Validator(variables | {"additionalProperties": False}).validate(defaults)
    used = {
        name
        for leaf in leaves(template["job_configuration"])
        if isinstance(leaf, str)
        for name in PLACEHOLDER.findall(leaf)
    }
    assert used == set(properties)
    assert set(variables.get("required", ())) <= set(properties)


def test_a_job_gets_the_store_and_its_own_pool_s_environment(
    pool: PoolName, infrastructure: Infrastructure
) -> None:
    """Pool cpu hands accelerator stages over; the run's own variables are added, not replaced."""
    template = base_job_template(pool, infrastructure)

    job = filled(template, env={"MINE": "1"})

    environment = job["env"]
    assert environment["MINE"] == "1"
    assert ("RECAP_GPU_DEPLOYMENT" in environment) == (pool == "cpu")
    assert (environment.get("JAX_PLATFORMS") == "cpu") == (pool == "cpu")
    if infrastructure != "process":  # there it is the worker's own environment
        assert environment["RECAP_HOME"] == "/recap"
    assert not any("{{" in leaf for leaf in leaves(job) if isinstance(leaf, str))


def test_only_pool_gpu_asks_for_a_gpu(pool: PoolName, infrastructure: Infrastructure) -> None:
    """One per run, in the words of the infrastructure."""
    job = filled(base_job_template(pool, infrastructure))

    wanted = 1 if pool == "gpu" else 0
    if infrastructure == "docker":
        requests = job["container_create_kwargs"].get("device_requests", [])
        assert [request["Count"] for request in requests] == [1] * wanted
    if infrastructure == "kubernetes":
        container = job["job_manifest"]["spec"]["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == wanted
        secrets = {
            one["name"]: one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"]
        }
        assert secrets == {"PREFECT_API_AUTH_STRING": "recap", "WANDB_API_KEY": "recap"}
        mounted = {one["name"] for one in container["volumeMounts"]}
        volumes = job["job_manifest"]["spec"]["template"]["spec"]["volumes"]
        assert mounted == {volume["name"] for volume in volumes}


def test_the_process_template_is_prefect_s(pool: PoolName, infrastructure: Infrastructure) -> None:
    """It has the fields of the installed process worker, no more and no fewer."""
    if infrastructure != "process":
        pytest.skip("its worker is a package of its own")
    template = base_job_template(pool, infrastructure)
    own = ProcessWorker.get_default_base_job_template()

    assert template["job_configuration"] == own["job_configuration"]
    assert set(template["variables"]["properties"]) == set(own["variables"]["properties"])
    job = asyncio.run(ProcessJobConfiguration.from_template_and_values(template, {}, client=NOBODY))
    assert job.stream_output
