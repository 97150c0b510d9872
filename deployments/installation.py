"""A real installation on a Prefect server: work pools, queues, automations, deployments.

Two pools: ``cpu`` runs the flows, ``gpu`` the accelerator stages that they hand over, as many at
once as there are devices. Everything is known by its name and made to be as described here, so it
may be called again after every change.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from importlib import resources
from typing import Any, Final, Literal

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel, ConfigDict, Field

from deployments.automations import (
    dead_run_automation,
    keep_automations,
    stuck_run_automation,
)
from deployments.notifications import notifying_automations
from recap_core.errors import ConfigError

QUEUES: Final[Mapping[str, int]] = {"people": 1, "default": 5, "night": 9}
"""Queues of both pools with their priorities: 1 goes first."""

BEGINS_WITHIN_S: Final[Mapping[str, int]] = {"process": 900, "docker": 3900, "kubernetes": 3900}
"""A run that was taken has begun by then; images may be pulled and nodes awaited for an hour."""

type Infrastructure = Literal["process", "docker", "kubernetes"]
type PoolName = Literal["cpu", "gpu"]


class Installation(BaseModel):
    """What a server should have."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    infrastructure: Infrastructure = "process"
    """How workers run flows."""
    num_gpus: int = Field(default=1, ge=1)
    """Accelerator stages at once, over all workers of pool ``gpu``."""
    num_flows: int = Field(default=4, ge=1)
    """Flows at once in pool ``cpu``; while one waits for an accelerator, it keeps its place."""
    notify: str | None = None
    """Notification block that says what went wrong, as ``type-slug/name``; None: nobody is told."""


class Change(BaseModel):
    """What was done, or would be."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    subject: str
    action: Literal["created", "updated", "kept"]


def install(installation: Installation, *, dry_run: bool = False) -> list[Change]:
    """Make the server's pools, queues and automations as described; what is so already stays.

    Args:
        installation: What the server should have.
        dry_run: Only say what would be done.

    Raises:
        ConfigError: If a pool exists with another infrastructure, or the block does not.
    """
    with get_client(sync_client=True) as client:
        automations = [
            dead_run_automation(),
            stuck_run_automation(BEGINS_WITHIN_S[installation.infrastructure]),
        ]
        if installation.notify is not None:  # asked for before anything is changed
            automations += notifying_automations(installation.notify, client)
        changes = [
            change
            for name in ("cpu", "gpu")
            for change in _install_pool(name, installation, client, dry_run=dry_run)
        ]
        return [*changes, *_install_automations(automations, client, dry_run=dry_run)]


def base_job_template(pool: PoolName, infrastructure: Infrastructure) -> dict[str, Any]:
    """The job template of a pool: the file of its infrastructure, with the pool's defaults."""
    file = resources.files("deployments").joinpath("templates", f"{infrastructure}.yaml")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    template = deepcopy(content["template"])
    properties = template["variables"]["properties"]
    for name, value in content[pool].items():
        default = properties[name].get("default")
        properties[name]["default"] = default | value if isinstance(default, dict) else value
    return template


def _install_pool(
    name: PoolName, installation: Installation, client: SyncPrefectClient, *, dry_run: bool
) -> Iterator[Change]:
    limit = installation.num_gpus if name == "gpu" else installation.num_flows
    template = base_job_template(name, installation.infrastructure)
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        pool = None
    if pool is None:
        yield Change(subject=f"work pool {name}", action="created")
        if not dry_run:
            wanted = WorkPoolCreate(
                name=name,
                type=installation.infrastructure,
                base_job_template=template,
                concurrency_limit=limit,
            )
            client.create_work_pool(wanted)
    else:
        _check_type(pool, installation)
        is_same = (pool.base_job_template, pool.concurrency_limit) == (template, limit)
        yield Change(subject=f"work pool {name}", action="kept" if is_same else "updated")
        if not dry_run and not is_same:
            update = WorkPoolUpdate(base_job_template=template, concurrency_limit=limit)
            client.update_work_pool(name, update)
    yield from _install_queues(name, client, is_new=pool is None, dry_run=dry_run)


def _check_type(pool: WorkPool, installation: Installation) -> None:
    if pool.type != installation.infrastructure:
        raise ConfigError(
            f"work pool {pool.name} exists with infrastructure {pool.type}, not "
            f"{installation.infrastructure}, and that cannot be changed. Give "
            f"--infrastructure {pool.type}, or remove it: prefect work-pool delete {pool.name}"
        )


def _install_queues(
    pool: PoolName, client: SyncPrefectClient, *, is_new: bool, dry_run: bool
) -> Iterator[Change]:
    is_imagined = is_new and dry_run
    known = {} if is_imagined else {q.name: q for q in client.read_work_queues(work_pool_name=pool)}
    for name, priority in QUEUES.items():
        subject = f"queue {name} of pool {pool}, priority {priority}"
        queue = known.get(name)
        if queue is None:
            yield Change(subject=subject, action="created")
            if not dry_run:
                client.create_work_queue(name, priority=priority, work_pool_name=pool)
        else:
            is_same = queue.priority == priority
            changed = "created" if is_new else "updated"  # a new pool has a queue "default"
            yield Change(subject=subject, action="kept" if is_same and not is_new else changed)
            if not is_same and not dry_run:
                client.update_work_queue(queue.id, priority=priority)


def _install_automations(
    wanted: Sequence[AutomationCore], client: SyncPrefectClient, *, dry_run: bool
) -> Iterator[Change]:
    for automation in wanted:
        known = client.read_automations_by_name(automation.name)
        if not known:
            action = "created"
        else:
            action = "kept" if len(known) == 1 and _is_same(known[0], automation) else "updated"
        yield Change(subject=f"automation {automation.name}", action=action)
        if not dry_run and action != "kept":
            keep_automations([automation])


def _is_same(known: AutomationCore, wanted: AutomationCore) -> bool:
    """Whether the server has it as it should be; ids are the server's own."""
    return _content(known) == _content(wanted)


def _content(automation: AutomationCore) -> dict[str, Any]:
    fields = {"name", "description", "enabled", "tags", "trigger", "actions"}
    content = automation.model_dump(mode="json", include=fields)
    content["trigger"].pop("id", None)
    for several in ("expect", "after", "for_each"):  # sets
        content["trigger"][several] = sorted(content["trigger"][several])
    return content
