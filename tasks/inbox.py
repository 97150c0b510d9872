"""What a flow asks about sessions before it takes them in."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recap_core.config.ingest import IngestConfig
from recap_core.lineage.artifacts import Recording
from tasks.store import open_store

if TYPE_CHECKING:
    from recap_core.stages.inbox import FoundSession


def find_sessions(place: Path, *, quiet_s: float) -> "list[FoundSession]":
    """The sessions of an inbox, or the one session that ``place`` is, and why one is not whole.

    Raises:
        DataError: If there is no such directory.
    """
    from recap_core.stages.inbox import find_sessions as find

    return find(place, now_s=time.time(), quiet_s=quiet_s)


def describe(
    session: Path, *, mode: Literal["demonstration", "rollout"] | None, next_round: int
) -> IngestConfig:
    """The settings under which a session is ingested: rollouts belong to the next round.

    Raises:
        DataError: If it holds no finished episode, or one that cannot be read.
    """
    from recap_core.stages.ingest import describe_session

    store = open_store()
    config = describe_session(session, mode=mode, store=store)
    if config.mode == "demonstration":
        return config
    return describe_session(session, mode=mode, round_index=next_round, store=store)


def known_recording(config: IngestConfig) -> Recording | None:
    """The recording that was made of these very episodes, for whichever round or project."""
    for manifest in open_store().artifacts():
        if manifest.kind == "recording" and manifest.config.get("source_digest") == (
            config.source_digest
        ):
            artifact = manifest.artifact()
            if isinstance(artifact, Recording) and artifact.mode == config.mode:
                return artifact
    return None
