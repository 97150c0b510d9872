"""Automations that tell somebody: a run failed, a run is late, a pool has no worker.

Whom they tell is a notification block on the server (Slack, e-mail, any webhook, whatever Apprise
knows). Its address is a secret, so it is made by hand, once, and only named here.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from recap_core.errors import ConfigError

_RUN: Final = """\
{{ flow.name }}/{{ flow_run.name }} is {{ flow_run.state.name }}.
{{ flow_run.state.message }}
{{ flow_run|ui_url }}"""
_POOL: Final = """\
No worker of work pool {{ work_pool.name }} has been heard of for a while; its runs wait.
{{ work_pool|ui_url }}"""


def notifying_automations(block: str, client: SyncPrefectClient) -> list[AutomationCore]:
    """One automation per thing that somebody should know of.

    Args:
        block: Notification block, as ``type-slug/name``, such as ``slack-webhook/robots``.
        client: Of the server that has the block.

    Raises:
        ConfigError: If the server has no such block.
    """
    block_id = _block_id(block, client)
    return [
        _notify(
            "recap: tell of failed runs",
            "prefect.flow-run.*",
            {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")},
            SendNotification(
                block_document_id=block_id,
                subject="recap: {{ flow_run.name }} {{ flow_run.state.name }}",
                body=_RUN,
            ),
        ),
        _notify(
            "recap: tell of late runs",
            "prefect.flow-run.*",
            {"prefect.flow-run.Late"},
            SendNotification(
                block_document_id=block_id,
                subject="recap: {{ flow_run.name }} has not begun",
                body=_RUN,
            ),
        ),
        _notify(
            "recap: tell of pools without workers",
            "prefect.work-pool.*",
            {"prefect.work-pool.not-ready"},
            SendNotification(
                block_document_id=block_id,
                subject="recap: no worker for {{ work_pool.name }}",
                body=_POOL,
            ),
        ),
    ]


def _notify(name: str, resource: str, events: set[str], action: SendNotification) -> AutomationCore:
    match: Mapping[str, list[str]] = {"prefect.resource.id": [resource]}
    return AutomationCore(
        name=name,
        description="Made by recap deploy --notify; changes here are undone by the next one.",
        tags=["recap"],
        trigger=EventTrigger(
            posture=Posture.Reactive,
            match=ResourceSpecification.model_validate(match),
            for_each={"prefect.resource.id"},
            expect=events,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[action],
    )


def _block_id(block: str, client: SyncPrefectClient) -> UUID:
    type_slug, _, name = block.partition("/")
    try:
        return client.read_block_document_by_name(name, type_slug).id
    except ObjectNotFound:
        raise ConfigError(
            f"the server has no block {block!r}. Make it in the UI under Blocks, and name it as "
            "type-slug/name, such as slack-webhook/robots"
        ) from None
