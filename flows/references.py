"""The refs of a project: where a flow finds what earlier flows have made.

Below ``<project>/<robot>/``:

    start, demonstrations, norm-stats   of the last bootstrap
    current                             the policy in use
    candidate                           the newest policy that waits for a person's word
    recording-<id8>                     a recording that was ingested for the project
    annotations                         corrections that the next rounds apply
    round-<k>-dataset                   simulated rollouts of round k, set as soon as they are
                                        converted
    round-<k>-relabeled                 all data of round k with the labels of its value model
    round-<k>                           the finished round as one artifact
    round-<k>-policy                    new policy of round k, set when the round is finished
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from flows.results import BootstrapResult, IterationResult, RoundInputs
from recap_core.config.flows import ProjectConfig
from recap_core.config.gate import GateDecision, Verdict
from recap_core.errors import (
    ArtifactNotFoundError,
    DataError,
    IncompatibleError,
    RefMovedError,
)
from recap_core.lineage.artifacts import (
    Annotations,
    Artifact,
    Dataset,
    Iteration,
    NormStats,
    PolicyCheckpoint,
    Recording,
    ValueCheckpoint,
)
from recap_core.lineage.decisions import decision_on, promote_unless_turned_down
from recap_core.lineage.iterations import IterationRecord, iteration_records
from recap_core.lineage.standing import Standing, recorded_decision, standing
from recap_core.lineage.store import Store
from tasks.planning import is_planning

_log = logging.getLogger(__name__)


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

    @property
    def name(self) -> str:
        """``project/robot``."""
        return self._prefix

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
        """Remember a bootstrap; ``current`` moves unless a round's or a person's policy is in use.

        Nobody has compared that one with the new starting policy.
        """
        start, policy = self.find("start", PolicyCheckpoint), result.policy
        current = self.find("current", PolicyCheckpoint)
        self.set("demonstrations", result.demonstrations)
        self.set("norm-stats", result.norm_stats)
        if current is None or current == start:
            self.set("current", policy)
        elif start != policy:
            _log.warning(
                "%s-%s is the starting policy now; %s stays in use. To drive with the new one: "
                "recap promote start --project %s",
                policy.name,
                policy.id[:8],
                f"{current.name}-{current.id[:8]}",
                self._prefix,
            )
        self.set("start", policy)

    def settle(self, policy: PolicyCheckpoint, verdict: Verdict, at: Standing) -> None:
        """Let what was decided about a new policy come true.

        ``current`` moves only to a policy that was promoted, and only if nobody has moved it since
        that was decided; else the policy is a candidate. One that is only kept is offered to
        nobody.

        Args:
            policy: What the round has made.
            verdict: What becomes of it.
            at: Where the project was when that was decided.
        """
        if verdict == "promoted" and is_planning():
            self.set("current", policy)  # deciding takes a lock, and a plan writes nothing
        elif verdict == "promoted":
            try:
                promote_unless_turned_down(
                    self._store, self._prefix, policy, instead_of={*at.may_replace, policy.id}
                )
            except RefMovedError as error:
                _log.warning("%s-%s is not put in use: %s", policy.name, policy.id[:8], error)
                self.offer(policy)
        elif verdict == "candidate":
            self.offer(policy)

    def keep_round(self, record: Iteration, policy: PolicyCheckpoint) -> None:
        """Remember a finished round; the last thing that it does, so that a kill loses nothing."""
        self.set(f"round-{record.round_index}-policy", policy)
        self.set(f"round-{record.round_index}", record)

    def offer(self, policy: PolicyCheckpoint) -> None:
        """Let ``candidate`` point to a policy, unless something was decided about it already."""
        if decision_on(self._store, self._prefix, policy) is None:
            self.set("candidate", policy)

    def standing(
        self,
        round_index: int,
        policy: PolicyCheckpoint,
        *,
        compared: PolicyCheckpoint,
        last_round: int | None,
    ) -> Standing:
        """Where the project is when a round ends; see :func:`~.lineage.standing.standing`."""
        return standing(
            self._store, self._prefix, round_index, policy,
            compared=compared, last_round=last_round,
        )  # fmt: skip

    def recorded_decision(
        self, round_index: int, parts: Mapping[str, Artifact | Sequence[Artifact] | None]
    ) -> GateDecision | None:
        """What was decided when this very round was finished; None if it is new.

        A round that was made anew with other settings, and then as before, is one that is known.
        """
        moves = self._store.ref_history(f"{self._prefix}/round-{round_index}")
        for id_ in dict.fromkeys(move.id for move in reversed(moves)):
            artifact = self._store.get(id_)
            assert isinstance(artifact, Iteration)  # noqa: S101 - what a round's ref points to
            record = IterationRecord(artifact, self._store.manifest(artifact))
            gate = self._config.iteration.gate
            found = recorded_decision(record, parts, gate, store=self._store)
            if found is not None:
                return found
        return None

    def next_round(self) -> int:
        """The first round that is not finished, from 1."""
        k = 1
        while self._is_finished(k):
            k += 1
        return k

    def out_of_turn(self, round_index: int) -> str | None:
        """A warning if a new round leaves earlier ones out, such as 22 for 2; else None."""
        first = self.next_round()
        if round_index <= first or self._is_finished(round_index):
            return None
        return (
            f"Round {round_index} of {self._prefix} is out of turn: round {first} has not "
            "finished, and is still the next one wherever no number is given."
        )

    def _is_finished(self, k: int) -> bool:
        """Its policy may have been removed since, the round's record never is."""
        if self.finished_round(k) is not None:
            return True
        return self.find(f"round-{k}-policy", PolicyCheckpoint) is not None

    def round_inputs(
        self, round_index: int, *, start: str | None = None, recordings: Sequence[str] = ()
    ) -> RoundInputs:
        """What exists before a round.

        A round that has recorded before, finished or not, keeps its collector, so that running it
        again finds its recording; and a finished one its recordings, if robots made them.

        Args:
            round_index: Number of the round.
            start: Name of the policy that training starts from; None: the bootstrap's.
            recordings: Names of recordings that the round uses; empty: as the project says.

        Raises:
            ArtifactNotFoundError: If there was no bootstrap, or nothing of a given name.
            DataError: If the round learns from recordings and there are none.
        """
        known = self.known_inputs(round_index, start=start)
        used = self.round_recordings(round_index, recordings)
        return known.model_copy(update={"recordings": used})

    def known_inputs(self, round_index: int, *, start: str | None = None) -> RoundInputs:
        """The same without recordings, for what does not record."""
        earlier = [dataset for k in range(1, round_index) for dataset in self._rollouts(k)]
        return RoundInputs(
            start=self.policy(start or "start"),
            collector=self._collector_of(round_index) or self.get("current", PolicyCheckpoint),
            demonstrations=self.get("demonstrations", Dataset),
            norm_stats=self.get("norm-stats", NormStats),
            earlier=tuple(earlier),
            value_start=pretrained_value_model(self._store, self._config),
            annotations=self.annotations(),
        )

    def annotations(self) -> Annotations | None:
        """What ``recap annotate --project`` has said of the project's episodes so far."""
        return self.find("annotations", Annotations)

    def policy(self, name: str) -> PolicyCheckpoint:
        """A policy by what people call it.

        Args:
            name: A ref of the project, such as ``current`` or ``round-3-policy``; any other ref as
                ``project/robot/name``; or an artifact's id or ``name-id8``.

        Raises:
            ArtifactNotFoundError: If there is none; lists the project's own.
            IncompatibleError: If it is no policy.
        """
        return self.named(name, PolicyCheckpoint, "policy")

    def named[A: Artifact](self, name: str, kind: type[A], what: str) -> A:
        """An artifact of some kind by a ref of the project, any ref, its id, or ``name-id8``.

        Args:
            name: What a person wrote.
            kind: What it must be.
            what: That kind in words, for messages.

        Raises:
            ArtifactNotFoundError: If there is nothing of that name; lists the project's own.
            IncompatibleError: If it is something else.
        """
        try:
            artifact = self._called(name)
        except ArtifactNotFoundError as error:
            if name == "start":
                return self.get(name, kind)  # says that there was no bootstrap
            raise ArtifactNotFoundError(
                f"there is no {what} {name!r}; {self._prefix} has: {self._names_of(kind)}. "
                "Any artifact's id and name-id8 will do as well"
            ) from error
        if not isinstance(artifact, kind):
            raise IncompatibleError(
                f"{name!r} is {artifact.kind} {artifact.name}, no {what}; "
                f"{self._prefix} has: {self._names_of(kind)}"
            )
        self._store.use(artifact)
        return artifact

    def _called(self, name: str) -> Artifact:
        if "/" not in name:
            return self._store.get_ref(f"{self._prefix}/{name}") or self._store.get(name)
        if name.count("/") != 2:
            raise ArtifactNotFoundError(f"{name!r} is no ref: write 'project/robot/name'")
        return self._store.get(name)

    def records(self) -> list[IterationRecord]:
        """The project's finished rounds, in order."""
        return iteration_records(self._store, self._config.project, self._config.robot)

    def keep_recording(self, recording: Recording) -> None:
        """Remember that a recording belongs to the project."""
        self.set(f"recording-{recording.id[:8]}", recording)

    def has_recording(self, recording: Recording) -> bool:
        """Whether it was ingested for the project before."""
        return self.find(f"recording-{recording.id[:8]}", Recording) == recording

    def recordings(self, mode: Literal["demonstration", "rollout"]) -> tuple[Recording, ...]:
        """What was ingested for the project, oldest first."""
        prefix = f"{self._prefix}/recording-"
        found = [self._store.get(ref) for ref in self._store.refs() if ref.startswith(prefix)]
        mine = [one for one in found if isinstance(one, Recording) and one.mode == mode]
        return tuple(sorted(mine, key=self._age))

    def new_recordings(self) -> tuple[Recording, ...]:
        """Rollouts that were ingested for the project and that no finished round has used."""
        used = {id_ for record in self.records() for id_ in record.ids("recordings")}
        return tuple(one for one in self.recordings("rollout") if one.id not in used)

    def num_new_episodes(self) -> int:
        """Episodes of the new recordings."""
        return sum(recording.num_episodes for recording in self.new_recordings())

    def round_recordings(
        self, round_index: int, names: Sequence[str] = ()
    ) -> tuple[Recording, ...]:
        """Recordings that a round learns from; empty where the simulator records.

        Args:
            round_index: Number of the round.
            names: Which; empty: those it had if it is finished, else all that are new.

        Raises:
            ArtifactNotFoundError: If there is no recording of a given name.
            DataError: If it needs recordings and nothing is new.
        """
        if names:
            return tuple(self.named(name, Recording, "recording") for name in names)
        if self._config.iteration.episodes == "simulation":
            return ()
        record = self._record(round_index)
        if record is not None:
            parts = [self._store.get(id_) for id_ in record.ids("recordings")]
            return tuple(part for part in parts if isinstance(part, Recording))
        new = self.new_recordings()
        if not new:
            raise DataError(
                f"nothing new was recorded for {self._prefix}: every recording was used by a "
                "finished round. Ingest one first: run the flow 'ingest', or change "
                "iteration.episodes"
            )
        return new

    def _age(self, recording: Recording) -> tuple[float, str]:
        return self._store.manifest(recording).finished_at.timestamp(), recording.id

    def collector_after(self, result: IterationResult, *, is_known: bool) -> PolicyCheckpoint:
        """The policy that the round after this one collects with.

        Args:
            result: The round.
            is_known: Whether it was only looked up: then people may have promoted its candidate or
                rolled back since, and a round that has begun keeps its collector.
        """
        if not is_known:
            return result.current
        begun = self._collector_of(result.round_index + 1)
        moves = self._store.ref_history(f"{self._prefix}/round-{result.round_index}-policy")
        if begun != result.current and begun and begun.id in {move.id for move in moves}:
            begun = None  # it followed this round as it was made under other settings
        return begun or self.find("current", PolicyCheckpoint) or result.current

    def finished_round(self, round_index: int) -> Iteration | None:
        """The record of a round as an artifact; None if it is not finished."""
        return self.find(f"round-{round_index}", Iteration)

    def _record(self, round_index: int) -> IterationRecord | None:
        """The record of a finished round; None if it is not finished."""
        artifact = self.finished_round(round_index)
        if artifact is None:
            return None
        return IterationRecord(artifact, self._store.manifest(artifact))

    def _rollouts(self, round_index: int) -> list[Dataset]:
        """What an earlier round added to the data; a round that only recorded counts too."""
        record = self._record(round_index)
        if record is None:
            recorded = self.find(f"round-{round_index}-dataset", Dataset)
            return [] if recorded is None else [recorded]
        parts = [self._store.get(id_) for id_ in record.ids("rollouts")]
        return [part for part in parts if isinstance(part, Dataset)]

    def _collector_of(self, round_index: int) -> PolicyCheckpoint | None:
        record = self._record(round_index)
        if record is not None and (id_ := record.id("collector")) is not None:
            known = self._store.get(id_)
            return known if isinstance(known, PolicyCheckpoint) else None
        rollouts = self.find(f"round-{round_index}-dataset", Dataset)
        if rollouts is None:
            return None
        recording = self._store.get(rollouts.parents[0])
        if not isinstance(recording, Recording) or not recording.parents:
            return None
        collector = self._store.get(recording.parents[0])
        return collector if isinstance(collector, PolicyCheckpoint) else None

    def _names_of(self, kind: type[Artifact]) -> str:
        """The project's refs to artifacts of a kind."""
        prefix = f"{self._prefix}/"
        own = [ref for ref in self._store.refs() if ref.startswith(prefix)]
        names = [ref.removeprefix(prefix) for ref in own if isinstance(self._store.get(ref), kind)]
        return ", ".join(names) or "none yet"
