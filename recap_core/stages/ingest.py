"""Stage 0: publish a session that was recorded outside the store."""

from pathlib import Path
from typing import Literal

from recap_core.config.ingest import IngestConfig
from recap_core.errors import DataError
from recap_core.lineage.artifacts import Recording
from recap_core.lineage.links import link_file, link_tree
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import INGEST

type Mode = Literal["demonstration", "rollout"]


def describe_session(
    session: Path, *, mode: Mode | None = None, round_index: int | None = None, store: Store
) -> IngestConfig:
    """The settings under which a session, as it is now, is ingested.

    Args:
        session: Directory of raw episodes, of our recorder or the reference collector's.
        mode: Who drove; None: what the episodes say, else rollouts.
        round_index: None: 0 for demonstrations; for rollouts what the episodes say, else 1.
        store: Whose digest cache is used.

    Raises:
        DataError: If it holds no finished episode.
    """
    from recap_core.data.session import read_session, session_digest

    recorded = read_session(session).recorded
    said = recorded.get("mode")
    chosen: Mode = mode or (said if said in {"demonstration", "rollout"} else "rollout")
    if round_index is None:
        known = recorded.get("round_index")
        first = known if isinstance(known, int) and known >= 0 else 1
        round_index = 0 if chosen == "demonstration" else first
    return IngestConfig(
        source_digest=session_digest(session, store.digests), mode=chosen, round_index=round_index
    )


def ingest_recording(session: Path, config: IngestConfig, *, name: str, store: Store) -> Recording:
    """Publish the finished episodes of a session; those in progress are left out.

    Files are shared by hard link and become read-only, or are copied: across file systems, and
    where they belong to somebody else. The same content is found again, wherever it lies.

    Args:
        session: Directory of raw episodes.
        config: From :func:`describe_session`.
        name: Name of a new recording.
        store: Where it is published.

    Raises:
        DataError: If the session has changed since it was described, or has no finished episode.
        ArtifactError: If it holds symbolic links.
    """

    def build(area: Build) -> Built:
        from recap_core.data.raw_episode import episode_directories
        from recap_core.data.session import SUMMARY, is_kept, read_session, session_digest

        for episode in episode_directories(session, warn=False):
            target = area.output / episode.name
            link_tree(episode, target, digests=store.digests, include=is_kept)
        if (session / SUMMARY).is_file():
            link_file(session / SUMMARY, area.output / SUMMARY, digests=store.digests)
        if session_digest(area.output, store.digests) != config.source_digest:
            raise DataError(
                f"{session} is not what it was when it was looked at: it has changed meanwhile. "
                "Wait until its recorder has ended, and ingest it again."
            )
        facts = read_session(area.output, warn=False)
        is_demonstration = config.mode == "demonstration"
        corrected = facts.num_frames if is_demonstration else facts.num_intervention_frames
        details = {
            "num_episodes": facts.num_episodes,
            "num_frames": facts.num_frames,
            "num_successes": facts.num_successes,
            "num_intervention_frames": corrected,
            "fps": facts.fps,
            "task": facts.task,
            "mode": config.mode,
            "round_index": config.round_index,
            "cameras": facts.cameras,
        }
        return Built(details, {"num_intervention_episodes": facts.num_intervention_episodes})

    return store.produce(INGEST, config, {}, name=name, build=build)
