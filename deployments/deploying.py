"""The deployments of ``prefect.yaml``, for the projects of a store, by ``prefect deploy``."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate

from deployments.forms import closed_form, flow_at
from recap_core.errors import ServerError


def prefect_file(definitions: Mapping[str, str]) -> dict[str, Any]:
    """``deployments/prefect.yaml`` with other definitions.

    Args:
        definitions: Values by name, of those at the file's head: ``project``, ``timezone``, ...
            Wherever a definition is used, its new value stands.
    """
    text = resources.files("deployments").joinpath("prefect.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    known = content["definitions"]
    return _replaced(content, {known[name]: value for name, value in definitions.items()})


def _replaced(node: Any, values: Mapping[str, str]) -> Any:  # noqa: ANN401 - any YAML
    if isinstance(node, dict):
        return {key: _replaced(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(value, values) for value in node]
    return values.get(node, node) if isinstance(node, str) else node


def deployed_flows(content: Mapping[str, Any]) -> list[str]:
    """``<entrypoint> as <name>`` of every deployment of a file."""
    return [f"{one['entrypoint']} as {one['name']}" for one in content["deployments"]]


def deploy(content: Mapping[str, Any]) -> None:
    """Create or update the deployments of a file on the server of this environment.

    ``prefect deploy`` makes them; what it cannot say, that a form is closed, is said afterwards.

    Raises:
        ServerError: If ``prefect deploy`` fails, with the end of what it said.
    """
    _prefect_deploy(content)
    with get_client(sync_client=True) as client:
        for name, flow in flows_of(content).items():
            form = closed_form(flow).model_dump()
            known = client.read_deployment_by_name(name)
            client.update_deployment(known.id, DeploymentUpdate(parameter_openapi_schema=form))


def flows_of(content: Mapping[str, Any]) -> dict[str, Flow[..., Any]]:
    """The flow of every deployment of a file, by ``<flow>/<deployment>``."""
    found = [(flow_at(one["entrypoint"]), one["name"]) for one in content["deployments"]]
    return {f"{flow.name}/{name}": flow for flow, name in found if flow is not None}


def _prefect_deploy(content: Mapping[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="recap-deploy-") as directory:
        file = Path(directory) / "prefect.yaml"
        file.write_text(yaml.safe_dump(dict(content), sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        done = subprocess.run(  # noqa: S603 - Prefect's own command
            [*command, "--prefect-file", str(file)],
            cwd=directory,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    if done.returncode != 0:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ServerError(f"prefect deploy ended with {done.returncode}: {' | '.join(said[-8:])}")
