"""Serve whatever a ref points to: load the newly promoted policy in the background, then swap."""

import logging
import threading
from collections.abc import Callable

from recap_core.errors import IncompatibleError, RecapError
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.store import Store
from recap_core.serving.host import PolicyHost, ServedPolicy
from recap_core.serving.statistics import ServingStatistics

logger = logging.getLogger(__name__)


class RefFollower:
    """Watches a ref; what it points to next is loaded, warmed up and put in place.

    Meanwhile the old policy answers. A policy that cannot take over (damaged, another robot) is
    refused with a logged error, once, and the old one stays. While both are loaded, the device
    holds both.

    Args:
        store: Where the ref is.
        ref: ``project/robot/current``.
        load: Makes the policy of an artifact, not warmed up yet.
        host: Where it is put.
        statistics: Told about swaps and refusals.
        poll_s: Seconds between looks at the ref.
    """

    def __init__(  # noqa: PLR0913 - all but the first two by name
        self,
        store: Store,
        ref: str,
        *,
        load: Callable[[PolicyCheckpoint], ServedPolicy],
        host: PolicyHost,
        statistics: ServingStatistics,
        poll_s: float = 2.0,
    ) -> None:
        self._store = store
        self._ref = ref
        self._load = load
        self._host = host
        self._statistics = statistics
        self._poll_s = poll_s
        self._refused: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"follow {ref}", daemon=True)

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; a load that has begun is left to itself."""
        self._stop.set()

    def check(self) -> bool:
        """Look once; returns whether the policy was replaced."""
        seen = None
        try:
            artifact = self._store.get_ref(self._ref)
            if artifact is None or artifact.id == self._host.current.artifact_id:
                self._refused = None
                return False
            seen = artifact.id
            if seen == self._refused:
                return False
            if not isinstance(artifact, PolicyCheckpoint):
                raise IncompatibleError(  # noqa: TRY301 - told like every other refusal
                    f"{self._ref} points to {artifact.kind} {artifact.name}, which is no policy."
                )
            logger.info("%s moved to %s-%s: loading", self._ref, artifact.name, artifact.id[:8])
            self._store.verify(artifact)
            policy = self._load(artifact)
            seconds = policy.policy.warm_up()
            old = self._host.swap(policy)
        except RecapError as error:
            self._refuse(seen, str(error))
            return False
        except Exception as error:
            logger.exception("the policy of %s cannot be loaded", self._ref)
            self._refuse(seen, f"{type(error).__name__}: {error}")
            return False
        self._statistics.count("swaps_total")
        logger.info("%s took over from %s (warm-up %.1f s)", policy.name, old.name, seconds)
        return True

    def _refuse(self, artifact_id: str | None, reason: str) -> None:
        """Say it once per artifact, or per reason where the ref itself cannot be read."""
        refused, self._refused = self._refused, artifact_id or reason
        if refused == self._refused:
            return
        self._statistics.count("refused_swaps_total")
        logger.error(
            "%s was NOT put in place, %s goes on: %s", self._ref, self._host.current.name, reason
        )

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_s):
            self.check()
