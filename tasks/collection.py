"""Stage 0 as tasks: record in simulation, or take in what a robot recorded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recap_core.config.collection import CollectConfig, CollectRuntime
from recap_core.config.ingest import IngestConfig
from recap_core.lineage.artifacts import PolicyCheckpoint, Recording
from tasks.stage_task import stage_task


def drives_policy(arguments: Mapping[str, Any]) -> bool:
    """Whether a collection uses an accelerator: the scripted expert does not."""
    return arguments["policy"] is not None


@stage_task("collect", tag="cpu", uses_accelerator=drives_policy)
def collect(
    policy: PolicyCheckpoint | None,
    config: CollectConfig,
    runtime: CollectRuntime,
    *,
    name: str,
) -> Recording:
    """Record demonstrations of the expert, or rollouts of ``policy`` under supervision.

    Safe to retry: finished episodes are kept, and their seeds do not depend on the attempt.
    """
    ...


@stage_task("ingest", tag="cpu")
def ingest(session: Path, config: IngestConfig, *, name: str) -> Recording:
    """Publish the finished episodes of a session.

    Safe to retry: the recording appears by an atomic rename.
    """
    ...
