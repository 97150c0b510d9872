"""Prefect's cache, kept in step with the store, which alone decides what exists."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.results import get_result_store
from prefect.types import DateTime

from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.keys import stage_key
from recap_core.stages.registry import STAGES, stage_call
from tasks.refresh import is_refreshed
from tasks.store import open_store

_LONG_AGO = DateTime(2000, 1, 1, tzinfo=UTC)


@dataclass
class StageKey(CachePolicy):
    """The stage key of a task's arguments, its result record made to agree with the store.

    Prefect calls this before every attempt of a task, then looks for a result record under the key.
    If the store has a verified artifact of that key, the record is (re)written from it, so that the
    task is *Cached*, also if the run that made the artifact was killed before it wrote a record. If
    the store has none, or a damaged one, whatever record there is is made to expire, so that the
    task executes. A wrong or missing record can therefore neither hide work nor repeat it. A stage
    that is to be made anew (:mod:`tasks.refresh`) is treated as if the store had nothing.

    The task's parameters must carry the names of the stage function's.
    """

    stage: str = ""
    """Id of the stage in :data:`recap_core.stages.registry.STAGES`."""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"no stage {self.stage!r}; there are {', '.join(STAGES)}")

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,  # noqa: ANN401 - Prefect's signature
    ) -> str:
        """The stage key; Prefect finds a record under it exactly if the store has the artifact."""
        del task_ctx, flow_parameters, kwargs
        call = stage_call(STAGES[self.stage], inputs)
        key = stage_key(*call)
        records = get_result_store()
        artifact = None if is_refreshed(self.stage, key) else open_store().find(*call)
        if artifact is not None:
            records.write(artifact, key=key)
        elif records.exists(key):
            records.write(None, key=key, expiration=_LONG_AGO)
        return key


def find_made(stage: str, arguments: Mapping[str, Any]) -> Artifact | None:
    """What a stage made of these arguments, verified; None if it has not run with them.

    Args:
        stage: Id in :data:`recap_core.stages.registry.STAGES`.
        arguments: By the names of the stage function's parameters.
    """
    return open_store().find(*stage_call(STAGES[stage], arguments))
