"""The refs of a project: where a flow finds what earlier flows have made.

Below ``<project>/<robot>/``:

    start, demonstrations, norm-stats   of the last bootstrap
    current, candidate                  the policy in use; the newest policy
    annotations                         corrections that the next rounds apply
    round-<k>-dataset                   rollouts of round k, set as soon as they are converted
    round-<k>-relabeled                 all data of round k with the labels of its value model
    round-<k>                           the finished round as one artifact
    round-<k>-policy                    new policy of round k, set when the round is finished
"""

from flows.results import BootstrapResult, RoundInputs
from recap_core.config.flows import ProjectConfig
from recap_core.errors import ArtifactNotFoundError, IncompatibleError
from recap_core.lineage.artifacts import (
    Annotations,
    Artifact,
    Dataset,
    NormStats,
    PolicyCheckpoint,
    Recording,
    ValueCheckpoint,
)
from recap_core.lineage.store import Store


def pretrained_policy(store: Store, config: ProjectConfig) -> PolicyCheckpoint | None:
    """The policy that the SFT starts from; None for fresh parameters.

    Raises:
        ArtifactNotFoundError: If ``bootstrap.start`` names nothing; says how to import it.
        IncompatibleError: If it is no policy.
    """
    reference = config.bootstrap.start
    if reference is None:
        return None
    try:
        artifact = store.get(reference)
    except ArtifactNotFoundError as error:
        raise ArtifactNotFoundError(
            f"bootstrap.start is {reference!r}, which is not in {store.home} ({error}). "
            f"Import it with: recap import-policy <checkpoint> --ref {reference}, "
            "or set bootstrap.start=null to train from fresh parameters"
        ) from error
    if not isinstance(artifact, PolicyCheckpoint):
        raise IncompatibleError(
            f"bootstrap.start is {reference!r}, a {artifact.kind}; it must be a policy"
        )
    return artifact


def pretrained_value_model(store: Store, config: ProjectConfig) -> ValueCheckpoint | None:
    """The value model that every round's training starts from; None for fresh parameters.

    Raises:
        ArtifactNotFoundError: If ``iteration.value_start`` names nothing; says how to import it.
        IncompatibleError: If it is no value model.
    """
    reference = config.iteration.value_start
    if reference is None:
        return None
    try:
        artifact = store.get(reference)
    except ArtifactNotFoundError as error:
        raise ArtifactNotFoundError(
            f"iteration.value_start is {reference!r}, which is not in {store.home} ({error}). "
            "Import pretrained weights with: recap value import <weights> --ref "
            f"{reference}, or set iteration.value_start=null and iteration.value.freeze=none to "
            "train from fresh parameters"
        ) from error
    if not isinstance(artifact, ValueCheckpoint):
        raise IncompatibleError(
            f"iteration.value_start is {reference!r}, a {artifact.kind}; it must be a value model"
        )
    return artifact


class ProjectRefs:
    """Refs of one robot of one project.

    Args:
        store: Where they are.
        config: Says whose they are.
    """

    def __init__(self, store: Store, config: ProjectConfig) -> None:
        self._store = store
        self._config = config
        self._prefix = f"{config.project}/{config.robot}"

    def find[A: Artifact](self, name: str, kind: type[A]) -> A | None:
        """The artifact that ref ``name`` points to; None if there is no such ref.

        Raises:
            IncompatibleError: If it is of another kind.
        """
        artifact = self._store.get_ref(f"{self._prefix}/{name}")
        if artifact is not None and not isinstance(artifact, kind):
            raise IncompatibleError(
                f"ref {self._prefix}/{name} points to {artifact.kind} {artifact.name}, "
                f"not to a {kind.__name__}; point it elsewhere"
            )
        return artifact

    def get[A: Artifact](self, name: str, kind: type[A]) -> A:
        """The artifact that ref ``name`` points to.

        Raises:
            ArtifactNotFoundError: If there is no such ref.
        """
        artifact = self.find(name, kind)
        if artifact is None:
            raise ArtifactNotFoundError(
                f"no ref {self._prefix}/{name} in {self._store.home}: run the bootstrap flow first"
            )
        return artifact

    def set(self, name: str, artifact: Artifact) -> None:
        """Point ref ``name`` to ``artifact``."""
        self._store.set_ref(f"{self._prefix}/{name}", artifact)

    def is_bootstrapped(self) -> bool:
        """Whether there is a policy to start a round from."""
        return self.find("start", PolicyCheckpoint) is not None

    def keep_bootstrap(self, result: BootstrapResult) -> None:
        """Remember a bootstrap; ``current`` moves only if the starting policy is another one."""
        is_new = self.find("start", PolicyCheckpoint) != result.policy
        self.set("demonstrations", result.demonstrations)
        self.set("norm-stats", result.norm_stats)
        if is_new or self.find("current", PolicyCheckpoint) is None:
            self.set("current", result.policy)
        self.set("start", result.policy)

    def keep_round(
        self, round_index: int, policy: PolicyCheckpoint, current: PolicyCheckpoint
    ) -> None:
        """Remember a finished round; running one again that is known moves nothing."""
        if self.knows_round(round_index, policy):
            return
        self.set("candidate", policy)
        self.set("current", current)
        self.set(f"round-{round_index}-policy", policy)

    def knows_round(self, round_index: int, policy: PolicyCheckpoint) -> bool:
        """Whether this round was finished before, with this policy."""
        return self.find(f"round-{round_index}-policy", PolicyCheckpoint) == policy

    def next_round(self) -> int:
        """The first round that is not finished, from 1."""
        k = 1
        while self.find(f"round-{k}-policy", PolicyCheckpoint) is not None:
            k += 1
        return k

    def round_inputs(self, round_index: int) -> RoundInputs:
        """What exists before a round.

        A round that has recorded before, finished or not, keeps its collector, so that running it
        again finds its recording.
        """
        earlier = [self.find(f"round-{k}-dataset", Dataset) for k in range(1, round_index)]
        return RoundInputs(
            start=self.get("start", PolicyCheckpoint),
            collector=self._collector_of(round_index) or self.get("current", PolicyCheckpoint),
            demonstrations=self.get("demonstrations", Dataset),
            norm_stats=self.get("norm-stats", NormStats),
            earlier=tuple(dataset for dataset in earlier if dataset is not None),
            value_start=pretrained_value_model(self._store, self._config),
            annotations=self.annotations(),
        )

    def annotations(self) -> Annotations | None:
        """What ``recap annotate --project`` has said of the project's episodes so far."""
        return self.find("annotations", Annotations)

    def _collector_of(self, round_index: int) -> PolicyCheckpoint | None:
        rollouts = self.find(f"round-{round_index}-dataset", Dataset)
        if rollouts is None:
            return None
        recording = self._store.get(rollouts.parents[0])
        if not isinstance(recording, Recording) or not recording.parents:
            return None
        collector = self._store.get(recording.parents[0])
        return collector if isinstance(collector, PolicyCheckpoint) else None
